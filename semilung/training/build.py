"""The learner of a config."""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor

from semilung.inference.predictor import MASK_HEAD
from semilung.models import Segmenter
from semilung.runs.exported_net import SavedNet
from semilung.runs.load import build_student, checkpoint_errors, read_net
from semilung.runs.train_config import TrainConfig
from semilung.strategies import Learner, Predictor, Strategy, build_strategy, heads_of
from semilung.strategies.core.task_weights import TaskWeights
from semilung.tasks import Task, build_tasks, heads_of_tasks
from semilung.training.frozen import freeze
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
            student.load_state_dict(_first_weights(student, saved))
    if start and config.optim.frozen and config.init is None:
        warnings.warn(
            f"optim.frozen={list(config.optim.frozen)} keeps random weights, for no run is named "
            f"to start from; add init=RUN",
            stacklevel=2,
        )
    freeze(student, config.optim.frozen)
    return Learner(
        student,
        strategies,
        teacher_decay=config.teacher_decay,
        predictor=cast(Predictor, config.predictor),
        make_student=_no_frozen_twin if config.optim.frozen else make_student,
        tasks=tasks,
        task_weights=_task_weights(config, tasks),
    )


def _no_frozen_twin() -> Segmenter:
    """Refuse a second student, whose frozen parts would keep random weights."""
    raise UserError(
        "optim.frozen keeps parts of the student, and a strategy of this training (such as "
        "cross_pseudo) trains a second one, which starts from random weights; leave out the one or "
        "the other"
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


def _first_weights(student: Segmenter, saved: SavedNet) -> dict[str, Tensor]:
    """Return the weights with which a student starts from a saved net.

    These are the saved backbone, and the heads that both have, of equal size; other heads are new.
    """
    new, weights = student.state_dict(), saved.weights
    heads = [f"heads.{name}." for name in student.heads]
    for head in [*heads, *(["backbone.head."] if student.logits and not saved.logits else [])]:
        sizes = [{k: v.shape for k, v in w.items() if k.startswith(head)} for w in (new, weights)]
        if sizes[0] != sizes[1]:
            weights = {k: v for k, v in weights.items() if not k.startswith(head)}
            weights |= {k: v for k, v in new.items() if k.startswith(head)}
    return {k: v for k, v in weights.items() if k in new or _is_trained(k, student)}


def _is_trained(name: str, student: Segmenter) -> bool:
    """Return whether a weight is of an output that the student has."""
    if name.startswith("backbone.head."):
        return student.logits
    return name.startswith("backbone.")


def require_tasks(strategies: Mapping[str, Strategy], tasks: Container[str]) -> None:
    """Raise UserError for a strategy of which no task is active."""
    for name, strategy in strategies.items():
        needed = strategy.needs.tasks
        if needed and not any(task in tasks for task in needed):
            raise UserError(
                f"strategy {name!r} learns from outputs of {' or '.join(needed)}, which is not "
                f"among the tasks of this training: add it (tasks=[...]), or leave the strategy out"
            )
