"""Validation during a training: the cheap metrics of every task, and one overlay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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
    active = list(tasks.values())
    predictor = Predictor([net], config.inference, config.data, heads_of_tasks(active))
    shown = next((i for i, case in enumerate(cases) if case.case.role == "labelled"), None)
    share = range(team.rank, len(cases), team.size)
    with team.agreeing():
        local = {i: _validated(predictor, cases[i], active, pictured=i == shown) for i in share}
    every = {i: case for each in team.gather(local) for i, case in each.items()}
    values = [every[i][0] for i in range(len(cases))]
    metrics = {
        metric.validation_name: _mean([case.get(metric.name, math.nan) for case in values])
        for metric in metrics_of(active)
        if metric.validated
    }
    return metrics, None if shown is None else every[shown][1]


def _validated(
    predictor: Predictor, case: PreparedCase, tasks: Sequence[Task], *, pictured: bool
) -> tuple[dict[str, float], np.ndarray | None]:
    """Return metrics of a case by name, and its picture."""
    predicted = CasePrediction(case, predictor.case_maps(case), predictor)
    active = [task for task in tasks if task.evaluates(case.case)]
    values = {name: float(v) for task in active for name, v in task.validate(predicted).items()}
    pictures = (task.picture(predicted, captioned=False) for task in active if pictured)
    return values, next((picture for picture in pictures if picture is not None), None)


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
