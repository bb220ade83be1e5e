"""Limitations of a study as sentences: confounded arms, missing cases, few seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semilung.evaluation.metrics import members
from semilung.report.differing_settings import confounded_arms
from semilung.report.formatting import counted, listed, quoted
from semilung.report.study import Study, silent_contenders
from semilung.types import EVALUATED_ROLES

FEWEST_SEEDS = 3

NO_HEALTHY_SCAN = "No healthy scan was evaluated, so false positives on healthy scans are unknown."
NO_NODULE = "No case with a nodule was evaluated, so what is predicted of nodules is not assessed."


def list_caveats(study: Study) -> list[str]:
    """Return the limitations of the results, the most severe first."""
    caveats = [*confounded_arms(study), *_silent_arms(study), *_absent_cases(study)]
    counts = [(n, _seeds(runs)) for g in study.groups for n, runs in g.contenders.items()]
    seeds = {name: min(count for n, count in counts if n == name) for name, _ in counts}
    few = sorted(name for name, count in seeds.items() if count < FEWEST_SEEDS)
    if min(seeds.values()) == 1:
        caveats.append(
            "With one seed, intervals include the variation between cases but not that between "
            "trainings."
        )
    elif few:
        caveats.append(
            f"There are fewer than {FEWEST_SEEDS} seeds of {listed(map(quoted, few))}, so that "
            f"intervals are too narrow."
        )
    thresholds = sorted({t for run in study.runs for t in run.cases.get("threshold", ())})
    if len(thresholds) > 1:
        caveats.append(
            f"Runs were evaluated at different thresholds "
            f"({listed(f'{threshold:g}' for threshold in thresholds)}), so arms also differ in "
            f"their operating point."
        )
    if study.split == "val":
        caveats.append(
            "Results are on validation cases, which may have been used to select arms and "
            "checkpoints; confirm them on the test split."
        )
    if any(run.best is None for run in study.runs):
        caveats.append(
            "The best checkpoint was not evaluated for every run; evaluate it with --checkpoint "
            "best."
        )
    if not study.failures.empty:
        caveats.append(f"The comparison excludes {counted(len(study.failures), 'failed run')}.")
    return caveats


def _silent_arms(study: Study) -> list[str]:
    names = [name for group in study.groups for name in silent_contenders(group.contenders)]
    silent = [quoted(name) for name in dict.fromkeys(names)]
    if not silent:
        return []
    verb = "predicts" if len(silent) == 1 else "predict"
    return [
        f"{listed(silent)} {verb} no foreground voxel on any scan, so the absence of false "
        f"positives is not informative."
    ]


def _absent_cases(study: Study) -> list[str]:
    """Return sentences on kinds of cases that were not evaluated, and roles without validation."""
    caveats = []
    if study.false_positives and all(members(run.cases, "healthy").empty for run in study.runs):
        caveats.append(NO_HEALTHY_SCAN)
    if all(members(run.cases, "positive").empty for run in study.runs):
        caveats.append(NO_NODULE)
    for role in EVALUATED_ROLES:
        splits = [
            {entry["split"] for entry in run.splits.values() if entry["role"] == role}
            for run in study.runs
        ]
        if any("train" in s and "val" not in s for s in splits):
            caveats.append(
                f"There are no {role} validation cases: all of them are in the training or test "
                f"split, so {role} cases were not monitored during training."
            )
    return caveats


def _seeds(runs: Sequence[Any]) -> int:
    return len({run.seed for run in runs})
