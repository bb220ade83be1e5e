"""All that has to be there before the first step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric

from semilung.data import PreparedCase, open_cohort
from semilung.strategies import Learner
from semilung.training.build import build_learner
from semilung.training.checkpoint import load_checkpoint
from semilung.training.config import TrainConfig, TrainerConfig
from semilung.training.optim import build_optimizer
from semilung.training.run import RunFolder
from semilung.types import UserError


@dataclass
class Training:
    """Everything that the loop moves."""

    config: TrainConfig
    run: RunFolder
    fabric: Fabric
    module: Any  # the learner as Fabric wraps it
    learner: Learner
    optimizer: Any
    streams: dict[str, list[PreparedCase]]
    views: dict[str, tuple[str, ...]]
    val: list[PreparedCase]
    step: int = 0
    best: float = -math.inf
    figures: dict[str, float] = field(default_factory=dict)


def set_up(config: TrainConfig, run: RunFolder, *, resume: bool) -> Training:
    """Everything that the loop moves, from a config, or from where a run stopped.

    The folder is begun last: a start that fails leaves none behind.

    Raises:
        UserError: Anything in config, data, folder or checkpoint that the user can mend.
    """
    trainer = config.trainer
    if trainer.threads:
        torch.set_num_threads(trainer.threads)
    fabric = _fabric(trainer)
    fabric.launch()
    cohort = open_cohort(config.data, seed=config.seed)
    state = None
    if resume:
        run.require_same_splits(cohort.splits)
        # A run that was stopped before its first checkpoint begins anew: step 0 is known too.
        state = load_checkpoint(run.last) if run.last.exists() else None
    else:
        run.require_free()
    learner = build_learner(config, start=state is None)
    views = learner.views(cohort.available)
    streams = {stream: cohort.train(stream) for stream in views}
    learner.require_anatomy(streams)
    if state is None:
        learner.before_training(streams)
    optimizer = build_optimizer(learner.param_groups(), config.optim)
    module, optimizer = fabric.setup(learner, optimizer)
    training = Training(config, run, fabric, module, learner, optimizer, streams, views, cohort.val)
    if state is not None:
        _restore(training, state)
    if resume and fabric.is_global_zero:
        run.sweep()
    if not resume and fabric.is_global_zero:
        run.begin(config, cohort.splits)
    return training


def _restore(training: Training, state: dict[str, Any]) -> None:
    """Put everything back where the checkpoint was taken."""
    try:
        training.learner.load_state_dict(state["learner"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.fabric.strategy.precision.load_state_dict(state["precision"])
        training.step, training.best = int(state["step"]), float(state["best"])
        if not 0 <= training.step <= training.config.trainer.max_steps:
            raise ValueError(f"step {training.step} of {training.config.trainer.max_steps}")
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        found = " ".join(str(error).split())[:200]
        msg = f"{training.run.last} does not fit the run's own config ({type(error).__name__}: "
        raise UserError(f"{msg}{found}). Restore the file, or begin a new run") from error


def _fabric(trainer: TrainerConfig) -> Fabric:
    try:
        # Fabric's precision is a closed Literal; TrainerConfig has checked the user's string
        return Fabric(
            accelerator=trainer.accelerator,
            devices=trainer.devices,
            precision=trainer.precision,  # type: ignore[arg-type]
        )
    except (RuntimeError, ValueError) as error:
        msg = f"trainer.accelerator={trainer.accelerator} is not to be had here: {error}"
        raise UserError(msg) from error
