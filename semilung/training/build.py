"""From a config to the learner, and from a run to its predictor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from semilung.bounds import require_bound
from semilung.models import Segmenter, build_model
from semilung.strategies import Learner, Predictor, build_strategy, heads_of
from semilung.training.checkpoint import load_checkpoint
from semilung.training.training_config import TrainConfig
from semilung.types import UserError


def build_student(
    model: Mapping[str, Any], heads: Mapping[str, int], *, channels_last: bool = False
) -> Segmenter:
    """The model of a config (its `name`, and everything else as options) with its heads."""
    require_bound("model", model)
    options = {key: value for key, value in model.items() if key != "name"}
    student = build_model(model["name"], options, heads=heads)
    # torch's stubs know no memory format for modules
    layout = torch.channels_last_3d if channels_last else torch.preserve_format
    return student.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


def build_learner(config: TrainConfig, *, start: bool = True) -> Learner:
    """The learner of a config, its weights drawn from the config's seed.

    Args:
        config: What to build.
        start: Whether to read `config.init`; a resumed run has weights of its own.

    Raises:
        UserError: Unknown names or options, or an `init` that does not fit the model.
    """
    named = {"supervised": {}, **config.strategies}
    torch.manual_seed(config.seed)  # a strategy may have weights of its own
    strategies = {name: build_strategy(name, options) for name, options in named.items()}
    make_student = partial(
        build_student,
        config.model,
        heads_of(strategies),
        channels_last=config.trainer.channels_last,
    )
    torch.manual_seed(config.seed)  # so that arms of a comparison start from one student
    student = make_student()
    if start and config.init is not None:
        state = load_checkpoint(checkpoint_path(config.init))
        with _fitting(config.init):
            weights = _below("backbone.", _predictor_weights(state))
            student.backbone.load_state_dict(weights)
    return Learner(
        student,
        strategies,
        teacher_decay=config.teacher_decay,
        predictor=cast(Predictor, config.predictor),
        make_student=make_student,
    )


def load_predictor(
    run: str | Path, checkpoint: str = "last", *, net: str | None = None
) -> nn.Module:
    """The net that a run predicts with, in evaluation mode, on the GPU where there is one.

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
    with _fitting(path):
        weights = _predictor_weights(state) if net is None else _below(f"{net}.", state["learner"])
        _require_filled(state["model"], weights)
        with torch.device("meta"):  # a model that its weights do not fill is never made
            _require_shapes(build_student(state["model"], state["heads"]), weights)
        model = build_student(state["model"], state["heads"])
        model.load_state_dict(weights)
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def checkpoint_path(run: str | Path, checkpoint: str = "last") -> Path:
    """The file behind a run's folder or behind a checkpoint that is named itself."""
    path = Path(run)
    return path / f"{checkpoint}.pt" if path.is_dir() or path.suffix != ".pt" else path


def _predictor_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    return _below(state["predictor"] + ".", state["learner"])


def _below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


@contextmanager
def _fitting(source: str | Path) -> Iterator[None]:
    """Tell of a checkpoint that lacks an entry, or whose weights are another model's."""
    try:
        yield
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
        msg = f"the weights of {source} do not fit the model: {reason[:200]}"
        raise UserError(msg) from error


SIZES = ("widths", "depth", "filters", "init_filters", "blocks_down", "blocks_up")
"""Options of the project's networks that determine their size."""


def _require_filled(model: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse a model whose sizes are larger than its weights can fill, before it is made.

    A width is an edge of some weight, and a depth no more than there are weights.
    """
    largest = max([len(weights), *(size for value in weights.values() for size in value.shape)])
    for option, value in ((name, model[name]) for name in SIZES if name in model):
        listed = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(v, int | float) and v > max(largest, 8) for v in listed):
            raise ValueError(f"{option}={value!r:.100} is more than the weights hold")


def _require_shapes(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    differing = [n for n in sorted(wanted | found) if wanted.get(n) != found.get(n)]
    if differing:
        raise ValueError(f"{', '.join(differing[:3])} are lacking or of another shape")
