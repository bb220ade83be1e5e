"""From a config to the learner, and from a run to its predictor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from semilung.models import build_model
from semilung.strategies import Learner, Predictor, build_strategy
from semilung.training.checkpoint import load_checkpoint
from semilung.training.config import TrainConfig
from semilung.types import UserError


def build_student(model: dict[str, Any]) -> nn.Module:
    """The model of a config: its `name`, and everything else as options."""
    options = {key: value for key, value in model.items() if key != "name"}
    return build_model(model["name"], options)


def build_learner(config: TrainConfig, *, start: bool = True) -> Learner:
    """The learner of a config, its weights drawn from the config's seed.

    Args:
        config: What to build.
        start: Whether to read `config.init`; a resumed run has weights of its own.

    Raises:
        UserError: Unknown names or options, or an `init` that does not fit the model.
    """
    torch.manual_seed(config.seed)
    student = build_student(config.model)
    if start and config.init is not None:
        _load_weights(student, load_checkpoint(checkpoint_path(config.init)), config.init)
    if config.trainer.channels_last:
        # torch's stubs know no memory format for modules
        student = student.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    strategies = {"supervised": {}, **config.strategies}
    built = {name: build_strategy(name, options) for name, options in strategies.items()}
    decay, predictor = config.teacher_decay, cast(Predictor, config.predictor)
    return Learner(student, built, teacher_decay=decay, predictor=predictor)


def load_predictor(run: str | Path, checkpoint: str = "last") -> nn.Module:
    """The net that a run predicts with, in evaluation mode, on the GPU where there is one.

    The run's strategies are not needed for it.

    Args:
        run: A run's folder, or a checkpoint file.
        checkpoint: `last` or `best`, where `run` is a folder.

    Raises:
        UserError: No such checkpoint, or one that does not fit its own config.
    """
    path = checkpoint_path(run, checkpoint)
    state = load_checkpoint(path)
    model = build_student(state["model"])
    _load_weights(model, state, str(path))
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def checkpoint_path(run: str | Path, checkpoint: str = "last") -> Path:
    """The file behind a run's folder or behind a checkpoint that is named itself."""
    path = Path(run)
    return path / f"{checkpoint}.pt" if path.is_dir() or path.suffix != ".pt" else path


def _load_weights(model: nn.Module, state: dict[str, Any], source: str) -> None:
    prefix = state["predictor"] + "."
    weights = {
        name.removeprefix(prefix): value
        for name, value in state["learner"].items()
        if name.startswith(prefix)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        msg = f"the weights of {source} do not fit the model: {reason[:200]}"
        raise UserError(msg) from error
