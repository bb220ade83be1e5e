"""The learner of a config."""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import partial
from typing import cast

import torch

from semilung.inference.predictor import MASK_HEAD
from semilung.runs.load import build_student, checkpoint_errors, read_net, weights_below
from semilung.runs.train_config import TrainConfig
from semilung.strategies import Learner, Predictor, Strategy, build_strategy, heads_of
from semilung.strategies.core.task_weights import TaskWeights
from semilung.tasks import Task, build_tasks, heads_of_tasks
from semilung.types import UserError


def build_learner(config: TrainConfig, *, start: bool = True) -> Learner:
    """Return the learner of a config, its weights drawn from the config's seed.

    Args:
        config: What to build.
        start: Whether to read `config.init`; a resumed run has weights of its own.

    Raises:
        UserError: Unknown names or options, or an `init` that does not fit the model.
    """
    tasks = build_tasks(config.tasks)
    named = {**{task.base: {} for task in tasks.values()}, **config.strategies}
    for task in tasks.values():
        named[task.base] = {**named[task.base], **task.base_options}
    torch.manual_seed(config.seed)  # a strategy may have weights of its own
    strategies = {name: build_strategy(name, options) for name, options in named.items()}
    require_tasks(strategies, tasks)
    make_student = partial(
        build_student,
        config.model,
        heads_of(strategies),
        logits=MASK_HEAD in heads_of_tasks(tasks.values()),
        channels_last=config.trainer.channels_last,
    )
    torch.manual_seed(config.seed)  # so that arms of a comparison start from one student
    student = make_student()
    if start and config.init is not None:
        saved = read_net(config.init)
        with checkpoint_errors(config.init):
            weights = weights_below("backbone.", saved.weights)
            if not student.logits:  # a task that has none may start from a run that has
                weights = {k: v for k, v in weights.items() if not k.startswith("head.")}
            student.backbone.load_state_dict(weights)
    return Learner(
        student,
        strategies,
        teacher_decay=config.teacher_decay,
        predictor=cast(Predictor, config.predictor),
        make_student=make_student,
        tasks=tasks,
        task_weights=_task_weights(config, tasks),
    )


def _task_weights(config: TrainConfig, tasks: Mapping[str, Task]) -> TaskWeights | None:
    """Return the learned weights of several tasks, where the config has them."""
    if config.optim.task_weights == "fixed":
        return None
    if len(tasks) < 2:
        raise UserError(
            f"optim.task_weights={config.optim.task_weights} weighs tasks against each other, and "
            f"this training has {', '.join(tasks)} alone; name several (tasks=[...]), or leave it "
            f"out"
        )
    return TaskWeights({task.base: name for name, task in tasks.items()})


def require_tasks(strategies: Mapping[str, Strategy], tasks: Container[str]) -> None:
    """Raise UserError for a strategy of which no task is active."""
    for name, strategy in strategies.items():
        needed = strategy.needs.tasks
        if needed and not any(task in tasks for task in needed):
            raise UserError(
                f"strategy {name!r} learns from outputs of {' or '.join(needed)}, which is not "
                f"among the tasks of this training: add it (tasks=[...]), or leave the strategy out"
            )
