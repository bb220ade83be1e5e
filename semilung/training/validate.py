"""Validation during a training: the cheap metrics of every task, and one overlay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from semilung.data import PreparedCase
from semilung.inference import Predictor
from semilung.runs.train_config import TrainConfig
from semilung.tasks import CasePrediction, Task, heads_of_tasks, metrics_of
from semilung.training.ranks import Team


def validate(
    net: nn.Module,
    cases: Sequence[PreparedCase],
    config: TrainConfig,
    tasks: Mapping[str, Task],
    team: Team,
) -> tuple[dict[str, float], np.ndarray | None]:
    """Return the means of the metrics that tasks validate, and one overlay.

    Each process evaluates a share of the cases; all get the same metrics, whatever their number.

    Returns:
        Metrics under `val/`, NaN where no case defines one, and an RGB picture of the first
        labelled case `(H, W, 3)`, or None where there is none.
    """
    predictor = Predictor([net], config.inference, config.data, heads_of_tasks(tasks.values()))
    shown = next((i for i, case in enumerate(cases) if case.case.role == "labelled"), None)
    share = range(team.rank, len(cases), team.size)
    with team.agreeing():
        local = {i: _validated(predictor, cases[i], tasks, pictured=i == shown) for i in share}
    every = {i: case for each in team.gather(local) for i, case in each.items()}
    values = [every[i][0] for i in range(len(cases))]
    pooled = {
        metric: value
        for name, task in tasks.items()
        for metric, value in task.pool([case[name] for case in values if name in case]).items()
    }
    metrics = {
        metric.validation_name: float(pooled.get(metric.name, math.nan))  # no scalar of numpy
        for metric in metrics_of(tasks.values())
        if metric.validated
    }
    return metrics, None if shown is None else every[shown][1]


def _validated(
    predictor: Predictor, case: PreparedCase, tasks: Mapping[str, Task], *, pictured: bool
) -> tuple[dict[str, dict[str, Any]], np.ndarray | None]:
    """Return what each task validates of a case, and the case's picture."""
    predicted = CasePrediction(case, predictor.case_maps(case), predictor)
    active = {name: task for name, task in tasks.items() if task.evaluates(case.case)}
    values = {name: task.validate(predicted) for name, task in active.items()}
    pictures = (task.picture(predicted, captioned=False) for task in active.values() if pictured)
    return values, next((picture for picture in pictures if picture is not None), None)
