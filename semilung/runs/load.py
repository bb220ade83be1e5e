"""The nets of a run, loaded from its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semilung.bounds import require_bound
from semilung.models import Segmenter, build_model
from semilung.runs.checkpoint import load_checkpoint
from semilung.types import UserError

SIZES = ("widths", "depth", "filters", "init_filters", "blocks_down", "blocks_up")
"""Options of the project's networks that determine their size."""


CHECKPOINTS = ("last", "best")
"""Names of the checkpoints in a run's folder."""


def build_student(
    model: Mapping[str, Any],
    heads: Mapping[str, int],
    *,
    logits: bool = True,
    channels_last: bool = False,
) -> Segmenter:
    """Return the model of a config (`name`, and everything else as options) with its heads."""
    require_bound("model", model)
    options = {key: value for key, value in model.items() if key != "name"}
    student = build_model(model["name"], options, heads=heads, logits=logits)
    # torch's stubs know no memory format for modules
    layout = torch.channels_last_3d if channels_last else torch.preserve_format
    return student.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


def load_predictor(
    run: str | Path, checkpoint: str = "last", *, net: str | None = None
) -> nn.Module:
    """Return the net that a run predicts with, in evaluation mode, on the GPU where there is one.

    The run's strategies are not needed for it.

    Args:
        run: A run's folder, or a checkpoint file.
        checkpoint: `last` or `best`, where `run` is a folder.
        net: `student` or `teacher.net`, instead of the one that predicts.

    Raises:
        UserError: No such checkpoint, or one that does not fit its own config.
    """
    path = checkpoint_path(run, checkpoint)
    state = load_checkpoint(path)
    with checkpoint_errors(path):
        weights = (
            predictor_weights(state) if net is None else weights_below(f"{net}.", state["learner"])
        )
        _require_filled(state["model"], weights)
        make = partial(
            build_student, state["model"], state["heads"], logits=state.get("logits", True)
        )
        with torch.device("meta"):  # a model that its weights do not fill is never made
            _require_shapes(make(), weights)
        model = make()
        model.load_state_dict(weights)
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def checkpoint_path(run: str | Path, checkpoint: str = "last") -> Path:
    """Return the checkpoint file of a run's folder, or the path itself where it is one."""
    path = Path(run)
    return path / f"{checkpoint}.pt" if path.is_dir() or path.suffix != ".pt" else path


def predictor_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint's predictor by their names within it."""
    return weights_below(state["predictor"] + ".", state["learner"])


def weights_below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


@contextmanager
def checkpoint_errors(source: str | Path) -> Iterator[None]:
    """Raise errors of a checkpoint that lacks an entry or fits another model as `UserError`.

    Args:
        source: The checkpoint, for the message.

    Raises:
        UserError: The weights do not fit.
    """
    try:
        yield
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
        raise UserError(
            f"the weights of {source} do not fit the model: {reason[:200]}. Restore the file, or "
            f"give the run that it belongs to"
        ) from error


def _require_filled(model: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError if a model's sizes exceed what its weights can fill, before it is made.

    A width is an edge of some weight, and a depth no more than there are weights.
    """
    largest = max([len(weights), *(size for value in weights.values() for size in value.shape)])
    for option, value in ((name, model[name]) for name in SIZES if name in model):
        listed = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(v, int | float) and v > max(largest, 8) for v in listed):
            raise ValueError(f"{option}={value!r:.100} is more than the weights hold")


def _require_shapes(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless weights have the names and shapes of a model's."""
    expected = {name: value.shape for name, value in model.state_dict().items()}
    actual = {name: value.shape for name, value in weights.items()}
    differing = [n for n in sorted(expected | actual) if expected.get(n) != actual.get(n)]
    if differing:
        raise ValueError(f"{', '.join(differing[:3])} are lacking or of another shape")
