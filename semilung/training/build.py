"""From a config to the learner, and from a run to its predictor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from semilung.models import Segmenter, build_model
from semilung.strategies import Learner, Predictor, build_strategy, heads_of
from semilung.training.checkpoint import load_checkpoint
from semilung.training.config import TrainConfig
from semilung.types import UserError


def build_student(
    model: Mapping[str, Any], heads: Mapping[str, int], *, channels_last: bool = False
) -> Segmenter:
    """The model of a config (its `name`, and everything else as options) with its heads."""
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
        weights = _predictor_weights(load_checkpoint(checkpoint_path(config.init)))
        _load(student.backbone, _below("backbone.", weights), config.init)
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
    model = build_student(state["model"], state["heads"])
    weights = _predictor_weights(state) if net is None else _below(f"{net}.", state["learner"])
    _load(model, weights, str(path))
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def checkpoint_path(run: str | Path, checkpoint: str = "last") -> Path:
    """The file behind a run's folder or behind a checkpoint that is named itself."""
    path = Path(run)
    return path / f"{checkpoint}.pt" if path.is_dir() or path.suffix != ".pt" else path


def _predictor_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    return _below(state["predictor"] + ".", state["learner"])


def _below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _load(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        msg = f"the weights of {source} do not fit the model: {reason[:200]}"
        raise UserError(msg) from error
