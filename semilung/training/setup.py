"""Set-up of a training: everything that the loop needs before the first step."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from lightning_fabric.utilities.exceptions import MisconfigurationException

from semilung.data import Cohort, PreparedCase, open_cohort, prepare
from semilung.data.cache.label_checks import require_bag_labels, require_masks
from semilung.inference.predictor import MASK_HEAD
from semilung.runs.checkpoint import load_checkpoint
from semilung.runs.lock import hold
from semilung.runs.run_folder import RunFolder
from semilung.runs.train_config import TrainConfig, TrainerConfig
from semilung.strategies import Learner
from semilung.tasks import Task, build_tasks, heads_of_tasks, is_evaluated
from semilung.training.build import build_learner
from semilung.training.hard_negatives import finding_heads
from semilung.training.metric_log import Means
from semilung.training.optim import build_optimizer
from semilung.training.processes import launched
from semilung.training.ranks import Team
from semilung.training.trial_pass import try_sizes
from semilung.types import UserError


@dataclass
class Training:
    """State of a training. Its `lock` holds the run's folder until it is closed."""

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
    tasks: dict[str, Task]
    step: int = 0
    best: float = -math.inf
    metrics: dict[str, float] = field(default_factory=dict)
    means: Means = field(default_factory=Means)
    hard_negatives: dict[str, Sequence[Sequence[int]]] = field(default_factory=dict)
    lock: ExitStack = field(default_factory=ExitStack)

    @property
    def first_task(self) -> Task:
        """The task whose score selects the best checkpoint."""
        return next(iter(self.tasks.values()))

    @property
    def searches(self) -> bool:
        """Whether hard negatives are searched in healthy scans."""
        requested = self.config.data.hard_negatives > 0 and bool(self.streams.get("healthy"))
        return requested and bool(finding_heads(self.tasks))

    @property
    def logits(self) -> bool:
        """Whether the student has the backbone's own output."""
        return MASK_HEAD in heads_of_tasks(self.tasks.values())


def set_up(config: TrainConfig, run: RunFolder, *, resume: bool) -> Training:
    """Return the state of a training, new or from where a run stopped.

    The folder is begun last: a start that fails leaves none behind.

    Raises:
        UserError: Anything in config, data, folder or checkpoint that the user can fix.
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
    with team.in_turn():  # the first process prepares what the cache lacks, the others read it
        cohort = open_cohort(config.data, seed=config.seed)
        state = None
        if resume:
            run.require_same_splits(cohort.splits)
            # A run that was stopped before its first checkpoint begins anew: step 0 is allowed too.
            state = load_checkpoint(run.last) if run.last.exists() else None
        else:
            run.require_free()
        learner = build_learner(config, start=state is None)
        views = learner.views(cohort.available)
        streams = {stream: cohort.train(stream) for stream in views}
        learner.require_anatomy(streams)
        if "mask" in learner.fields():
            require_masks(streams.get("labelled", []))
        if "bag_label" in learner.fields():
            require_bag_labels(streams.get("labelled", []))
        if state is None:
            learner.before_training(streams)
        tasks = build_tasks(config.tasks)
        evaluable = partial(is_evaluated, tasks.values())
        val = prepare(cohort.evaluated("val", evaluable), config.data)
    optimizer = build_optimizer(
        learner.param_groups(), config.optim, undecayed=learner.undecayed_parameters()
    )
    module, optimizer = fabric.setup(learner, optimizer)
    training = Training(
        config, run, fabric, team, module, learner, optimizer, cohort, streams, views, val, tasks
    )
    with team.agreeing():
        try_sizes(learner, config, tasks)
    if state is not None:
        _restore(training, state)
    if resume:
        team.first_does(run.extend, config.trainer.max_steps)
    else:
        team.first_does(run.begin, config, cohort.splits)
    return training


def _restore(training: Training, state: dict[str, Any]) -> None:
    """Restore the state of a checkpoint."""
    try:
        training.learner.load_state_dict(state["learner"])
        _require_optimizer_state(training, state)
        training.optimizer.load_state_dict(state["optimizer"])
        training.fabric.strategy.precision.load_state_dict(state["precision"])
        training.step, training.best = int(state["step"]), float(state["best"])
        training.means = _restored_means(state.get("means", []), training.team.rank)
        training.hard_negatives = {
            name: [[int(x), int(y), int(z)] for x, y, z in voxels]
            for name, voxels in state.get("hard_negatives", {}).items()
        }
        if training.step < 0:
            raise ValueError(f"step {training.step}")
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{training.run.last} does not fit the run's own config ({type(error).__name__}: "
            f"{reason}). Restore the file, or begin a new run"
        ) from error
    if training.step > (max_steps := training.config.trainer.max_steps):
        raise UserError(
            f"{training.run.path} has done {training.step} steps, and trainer.max_steps="
            f"{max_steps} ends before; give at least as many steps as are done"
        )


REQUIRED = {"adamw": {"params", "lr", "betas"}, "sgd": {"params", "lr", "momentum"}}
"""Required keys of a group of parameters; others, of newer versions of torch, have defaults."""

MOMENTS = {"adamw": {"step", "exp_avg", "exp_avg_sq"}, "sgd": {"momentum_buffer"}}
"""State of an optimizer for each parameter."""


def _require_optimizer_state(training: Training, state: Mapping[str, Any]) -> None:
    """Check moments for their names and shapes, which no optimizer does by itself.

    Raises:
        ValueError: They are; training would go on otherwise than it stopped.
    """
    optim, groups = training.config.optim, training.optimizer.param_groups
    moments_of, saved = state["optimizer"]["state"], state["optimizer"]["param_groups"]
    has_moments = optim.name == "adamw" or optim.momentum > 0
    # a scaled step may be skipped, and the first ones are
    if has_moments and not moments_of and state["step"] > 0 and not state["precision"]:
        raise ValueError(f"the optimizer's state is empty after {state['step']} steps")
    for old in saved:
        if lacking := REQUIRED[optim.name] - set(old):
            raise ValueError(f"the optimizer's state lacks {', '.join(sorted(lacking))}")
    parameters = [parameter for group in groups for parameter in group["params"]]
    for number, moments in moments_of.items():
        if has_moments and (lacking := MOMENTS[optim.name] - set(moments)):
            raise ValueError(f"the optimizer's state lacks {', '.join(sorted(lacking))}")
        shapes = {name: v.shape for name, v in moments.items() if torch.is_tensor(v) and v.ndim}
        if other := [name for name, s in shapes.items() if s != parameters[number].shape]:
            raise ValueError(f"the optimizer's {', '.join(other)} is of another shape")


def _restored_means(saved: list[dict[str, list[Any]]], rank: int) -> Means:
    """Return the means of a process; a new one, or one of an older checkpoint, has none."""
    means = saved[rank] if rank < len(saved) else {}
    return Means({name: (float(total), int(count)) for name, (total, count) in means.items()})


def _fabric(trainer: TrainerConfig) -> Fabric:
    start = launched()
    if start.processes != trainer.devices:
        raise UserError(
            f"trainer.devices is {trainer.devices}, and {start.by} started {start.processes} "
            f"processes; give trainer.devices that number"
        )
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
        raise UserError(
            f"trainer.accelerator={trainer.accelerator} with trainer.devices={trainer.devices} is "
            f"not available here: {error}"
        ) from error


class _Autocast(MixedPrecision):
    """Fabric's, which would round images to half precision before any strategy sees them."""

    def convert_input(self, data: Any) -> Any:
        """Return the data unchanged; autocast rounds where a layer needs it."""
        return data


def _precision(precision: str, device: str) -> Precision:
    if precision == "32-true":
        return Precision()
    # a closed Literal there; TrainerConfig has checked the user's string
    return _Autocast(precision, device)  # type: ignore[arg-type]
