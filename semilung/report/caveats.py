"""What a reader must know before believing the metrics, in sentences; the gravest come first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from semilung.report.differing_settings import silent_contenders, unlike_arms
from semilung.report.formatting import counted, listed, named
from semilung.report.study import Study
from semilung.types import EVALUATED_ROLES

FEWEST_SEEDS = 3

NO_HEALTHY_SCAN = (
    "No healthy scan was evaluated: how much is marked where there is no nodule is not known."
)
NO_NODULE = (
    "No case with a nodule was evaluated: whether any nodule is detected or outlined is not known."
)


def list_caveats(study: Study) -> list[str]:
    """What a reader must know before believing the metrics, the gravest first."""
    told = [*unlike_arms(study), *_silent_arms(study), *_missing_cases(study)]
    counts = [(n, _seeds(runs)) for g in study.groups for n, runs in g.contenders.items()]
    seeds = {name: min(count for n, count in counts if n == name) for name, _ in counts}
    few = sorted(name for name, count in seeds.items() if count < FEWEST_SEEDS)
    if min(seeds.values()) == 1:
        told.append("One seed: the intervals hold the scatter of cases, not that of training.")
    elif few:
        told.append(
            f"Fewer than {FEWEST_SEEDS} seeds of {listed(map(named, few))}: the intervals are too "
            f"narrow."
        )
    cuts = sorted({cut for run in study.runs for cut in run.cases.get("threshold", ())})
    if len(cuts) > 1:
        told.append(
            f"Runs were cut at different thresholds ({listed(f'{cut:g}' for cut in cuts)}), so "
            f"arms differ by their operating point too."
        )
    if study.split == "val":
        told.append(
            "These are validation cases, by which arms and checkpoints may have been picked; the "
            "test split has the last word."
        )
    if any(run.best is None for run in study.runs):
        told.append("The best checkpoint was not evaluated for every run: add --checkpoint best.")
    if not study.failures.empty:
        told.append(f"{counted(len(study.failures), 'run')} failed and took no part.")
    return told


def _silent_arms(study: Study) -> list[str]:
    names = [name for group in study.groups for name in silent_contenders(group.contenders)]
    silent = [named(name) for name in dict.fromkeys(names)]
    if not silent:
        return []
    verb = "predicts" if len(silent) == 1 else "predict"
    return [
        f"{listed(silent)} {verb} nothing, not one voxel on any scan: no false positives, and no "
        f"findings either."
    ]


def _missing_cases(study: Study) -> list[str]:
    """Cases that nobody evaluated, and roles that are all in training."""
    volumes = pd.concat([run.cases["reference_volume_mm3"] for run in study.runs])
    missing = []
    if not (volumes == 0).any():
        missing.append(NO_HEALTHY_SCAN)
    if not (volumes > 0).any():
        missing.append(NO_NODULE)
    for role in EVALUATED_ROLES:
        splits = [
            {kept["split"] for kept in run.splits.values() if kept["role"] == role}
            for run in study.runs
        ]
        if any("train" in s and "val" not in s for s in splits):
            missing.append(
                f"No {role} case is left for validation: all of them are in training or test, so "
                f"nothing was checked on {role} cases while the training ran."
            )
    return missing


def _seeds(runs: Sequence[Any]) -> int:
    return len({run.seed for run in runs})
