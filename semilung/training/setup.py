"""All that has to be there before the first step."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from lightning_fabric.utilities.exceptions import MisconfigurationException

from semilung.data import Cohort, PreparedCase, open_cohort
from semilung.data.cache.label_checks import require_bag_labels
from semilung.strategies import Learner
from semilung.training.build import build_learner
from semilung.training.checkpoint import load_checkpoint
from semilung.training.lock import hold
from semilung.training.metric_log import Means
from semilung.training.optim import build_optimizer
from semilung.training.processes import launched
from semilung.training.ranks import Team
from semilung.training.run import RunFolder
from semilung.training.training_config import TrainConfig, TrainerConfig
from semilung.training.trial_pass import try_sizes
from semilung.types import UserError


@dataclass
class Training:
    """Everything that the loop moves. Its `lock` holds the run's folder until it is closed."""

    config: TrainConfig
    run: RunFolder
    fabric: Fabric
    team: Team
    module: Any  # the learner as Fabric wraps it
    learner: Learner
    optimizer: Any
    cohort: Cohort
    streams: dict[str, list[PreparedCase]]
    views: dict[str, tuple[str, ...]]
    val: list[PreparedCase]
    step: int = 0
    best: float = -math.inf
    figures: dict[str, float] = field(default_factory=dict)
    means: Means = field(default_factory=Means)
    lock: ExitStack = field(default_factory=ExitStack)


def set_up(config: TrainConfig, run: RunFolder, *, resume: bool) -> Training:
    """Everything that the loop moves, from a config, or from where a run stopped.

    The folder is begun last: a start that fails leaves none behind.

    Raises:
        UserError: Anything in config, data, folder or checkpoint that the user can mend.
    """
    fabric = _fabric(config.trainer)
    fabric.launch()
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    team = Team(fabric)
    with ExitStack() as lock:
        team.first_does(lock.enter_context, hold(run.path))
        training = _prepared(config, run, fabric, team, resume=resume)
        training.lock = lock.pop_all()
    return training


def _prepared(
    config: TrainConfig, run: RunFolder, fabric: Fabric, team: Team, *, resume: bool
) -> Training:
    with team.in_turn():  # the first process prepares what the cache lacks, the others find it
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
        if "bag_label" in learner.fields():
            require_bag_labels(streams.get("labelled", []))
        if state is None:
            learner.before_training(streams)
        val = cohort.val
    optimizer = build_optimizer(learner.param_groups(), config.optim)
    module, optimizer = fabric.setup(learner, optimizer)
    training = Training(
        config, run, fabric, team, module, learner, optimizer, cohort, streams, views, val
    )
    with team.agreeing():
        try_sizes(learner, config)
    if state is not None:
        _restore(training, state)
    if resume:
        team.first_does(run.extend, config.trainer.max_steps)
    else:
        team.first_does(run.begin, config, cohort.splits)
    return training


def _restore(training: Training, state: dict[str, Any]) -> None:
    """Put everything back where the checkpoint was taken."""
    try:
        training.learner.load_state_dict(state["learner"])
        _require_optimizer_state(training, state)
        training.optimizer.load_state_dict(state["optimizer"])
        training.fabric.strategy.precision.load_state_dict(state["precision"])
        training.step, training.best = int(state["step"]), float(state["best"])
        training.means = _restored_means(state.get("means", []), training.team.rank)
        if training.step < 0:
            raise ValueError(f"step {training.step}")
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        found = " ".join(str(error).split())[:200]
        msg = f"{training.run.last} does not fit the run's own config ({type(error).__name__}: "
        raise UserError(f"{msg}{found}). Restore the file, or begin a new run") from error
    if training.step > (asked := training.config.trainer.max_steps):
        msg = (
            f"{training.run.path} has done {training.step} steps, and trainer.max_steps={asked} "
            f"ends before; give at least as many steps as are done"
        )
        raise UserError(msg)


REQUIRED = {"adamw": {"params", "lr", "betas"}, "sgd": {"params", "lr", "momentum"}}
"""Keys of a group of parameters; others, of newer versions of torch, have defaults."""

MOMENTS = {"adamw": {"step", "exp_avg", "exp_avg_sq"}, "sgd": {"momentum_buffer"}}
"""What an optimizer keeps of each parameter."""


def _require_optimizer_state(training: Training, state: Mapping[str, Any]) -> None:
    """Refuse moments that are lacking or of other shapes, which no optimizer notices by itself.

    Raises:
        ValueError: They are; training would go on otherwise than it stopped.
    """
    optim, groups = training.config.optim, training.optimizer.param_groups
    kept, saved = state["optimizer"]["state"], state["optimizer"]["param_groups"]
    keeps = optim.name == "adamw" or optim.momentum > 0
    # a scaled step may be skipped, and the first ones are
    if keeps and not kept and state["step"] > 0 and not state["precision"]:
        raise ValueError(f"the optimizer's state is empty after {state['step']} steps")
    for old in saved:
        if lacking := REQUIRED[optim.name] - set(old):
            raise ValueError(f"the optimizer's state lacks {', '.join(sorted(lacking))}")
    parameters = [parameter for group in groups for parameter in group["params"]]
    for number, moments in kept.items():
        if keeps and (lacking := MOMENTS[optim.name] - set(moments)):
            raise ValueError(f"the optimizer's state lacks {', '.join(sorted(lacking))}")
        shapes = {name: v.shape for name, v in moments.items() if torch.is_tensor(v) and v.ndim}
        if other := [name for name, s in shapes.items() if s != parameters[number].shape]:
            raise ValueError(f"the optimizer's {', '.join(other)} is of another shape")


def _restored_means(kept: list[dict[str, list[Any]]], rank: int) -> Means:
    """The means of a process; one that was not there, or an older checkpoint, has none."""
    mine = kept[rank] if rank < len(kept) else {}
    return Means({name: (float(total), int(count)) for name, (total, count) in mine.items()})


def _fabric(trainer: TrainerConfig) -> Fabric:
    start = launched()
    if start.processes != trainer.devices:
        msg = f"trainer.devices is {trainer.devices}, and {start.by} started {start.processes}"
        raise UserError(f"{msg} processes; give trainer.devices that number")
    if trainer.devices > 1:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets each process
        # a kernel of one voxel lies the same way under either strides
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    accelerator = trainer.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return Fabric(
            accelerator=accelerator,
            strategy="ddp" if trainer.devices > 1 else "auto",
            devices=trainer.devices // start.nodes,
            num_nodes=start.nodes,
            plugins=[start.environment(), _precision(trainer.precision, accelerator)],
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        msg = f"trainer.accelerator={trainer.accelerator} with trainer.devices={trainer.devices}"
        raise UserError(f"{msg} is not to be had here: {error}") from error


class _Autocast(MixedPrecision):
    """Fabric's, which would round images to half precision before any strategy sees them."""

    def convert_input(self, data: Any) -> Any:
        """As it is; autocast rounds where a layer asks for it."""
        return data


def _precision(precision: str, device: str) -> Precision:
    if precision == "32-true":
        return Precision()
    # a closed Literal there; TrainerConfig has checked the user's string
    return _Autocast(precision, device)  # type: ignore[arg-type]
