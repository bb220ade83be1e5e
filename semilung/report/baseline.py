"""A baseline that does not use the image, where the task of the compared metric has one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from semilung.data import read_manifest
from semilung.evaluation import Metric
from semilung.report.study import Group, Run
from semilung.tasks import Baseline, Task
from semilung.types import UserError

LEAST = 0.05
"""Lowest share to report: below, cases are whole scans rather than crops around their nodule."""


def baseline_of(tasks: Mapping[str, Task], metric: Metric) -> Baseline | None:
    """Return the baseline of the task whose score a metric is; None if there is none."""
    return next((task.baseline for task in tasks.values() if task.score == metric), None)


def baseline_score(group: Group, baseline: Baseline, score: Metric) -> float | None:
    """Return the mean score, over evaluated cases, of the baseline that fits training cases best.

    Labels beyond the label budget are included, which makes the baseline stronger. It is fitted
    once per fold, with the splits of the group's first contender and its first seed.

    Returns:
        None if manifest, splits or labels are not available, the cases allow no baseline, or it is
        a share below `LEAST`.
    """
    first = next(iter(group.contenders.values()))
    scores: list[float] = []
    for run in (run for run in first if run.seed == first[0].seed):
        try:
            fold_scores = _fold_scores(run, baseline, score)
        except UserError:  # volumes were moved or changed since the training
            return None
        if fold_scores is None:
            return None
        scores += fold_scores
    mean = float(np.mean(scores)) if scores else 0.0
    return None if score.full_scale and mean < LEAST else mean


def _fold_scores(run: Run, baseline: Baseline, score: Metric) -> list[float] | None:
    manifest = Path(str((run.config.get("data") or {}).get("manifest")))
    if not (manifest.is_file() and run.splits):
        return None
    tasks = [task for task in run.tasks.values() if task.baseline == baseline]
    cases = {case.case: case for case in read_manifest(manifest)}
    train = [
        cases[name]
        for name, entry in run.splits.items()
        if entry["split"] == "train"
        and name in cases
        and cases[name].role == "labelled"
        and any(task.evaluates(cases[name]) for task in tasks)
    ]
    members = score.members(run.cases)["case"]
    evaluated = [cases[name] for name in members if name in cases]
    if not train or len(evaluated) < len(members):
        return None
    return baseline.scores(train, evaluated)
