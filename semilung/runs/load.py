"""The nets of a run or an export, and the settings that they predict with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semilung.bounds import require_bound
from semilung.models import Head, Segmenter, build_model
from semilung.runs.checkpoint import load_checkpoint
from semilung.runs.exported_config import Provenance, is_export, read_exported_config
from semilung.runs.exported_net import SavedNet, read_exported_net
from semilung.runs.run_config import load_run_config
from semilung.runs.train_config import TrainConfig
from semilung.types import UserError

SIZES = ("widths", "depth", "filters", "init_filters", "blocks_down", "blocks_up")
"""Options of the project's networks that determine their size."""


CHECKPOINTS = ("last", "best")
"""Names of the checkpoints in a run's folder."""


def build_student(
    model: Mapping[str, Any],
    heads: Mapping[str, int | Head],
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
        run: Folder of a run or an export, or a checkpoint file.
        checkpoint: `last` or `best`, where `run` is a folder.
        net: `student` or `teacher.net`, instead of the one that predicts.

    Raises:
        UserError: No such checkpoint, or one that does not fit its own config.
    """
    source = run if is_export(Path(run)) else checkpoint_path(run, checkpoint)
    return built(read_net(run, checkpoint, net=net), source=source)


def read_net(run: str | Path, checkpoint: str = "last", *, net: str | None = None) -> SavedNet:
    """Return the net that a run or an export holds; arguments and errors as `load_predictor`."""
    if is_export(Path(run)):
        return _require_checkpoint(read_exported_net(Path(run)), checkpoint, run)
    path = checkpoint_path(run, checkpoint)
    state = load_checkpoint(path)
    with checkpoint_errors(path):
        name = state["predictor"] if net is None else net
        return SavedNet(
            state["model"],
            state["heads"],
            state.get("logits", True),
            weights_below(f"{name}.", state["learner"]),
            Provenance(path.absolute().parent.name, path.stem, name, int(state.get("step", 0))),
        )


def built(net: SavedNet, *, source: str | Path) -> nn.Module:
    """Return a saved net as a module, in evaluation mode, on the GPU where there is one.

    Args:
        net: The net.
        source: The checkpoint or export, for messages.

    Raises:
        UserError: The weights do not fit the model.
    """
    with checkpoint_errors(source):
        _require_filled(net.model, net.weights)
        heads = {name: Head.of(size) for name, size in net.heads.items()}
        make = partial(build_student, net.model, heads, logits=net.logits)
        with torch.device("meta"):  # a model that its weights do not fill is never made
            _require_shapes(make(), net.weights)
        model = make()
        model.load_state_dict(net.weights)
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def prediction_config(run: Path) -> TrainConfig:
    """Return the settings that a run or an export predicts with.

    Raises:
        UserError: The folder is neither, or its settings are unknown to this version.
    """
    return read_exported_config(run)[1] if is_export(run) else load_run_config(run)


def _require_checkpoint(net: SavedNet, checkpoint: str, source: str | Path) -> SavedNet:
    if checkpoint not in ("last", net.provenance.checkpoint):  # `last` is the default
        raise UserError(
            f"{source} is an export of the checkpoint {net.provenance.checkpoint}; leave "
            f"--checkpoint out, or export the run with --checkpoint {checkpoint}"
        )
    return net


def checkpoint_path(run: str | Path, checkpoint: str = "last") -> Path:
    """Return the checkpoint file of a run's folder, or the path itself where it is one."""
    path = Path(run)
    return path / f"{checkpoint}.pt" if path.is_dir() or path.suffix != ".pt" else path


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
