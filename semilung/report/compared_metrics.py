"""Metrics by which arms are compared, and the comparison of each setting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from semilung.evaluation import compare_arms, holm
from semilung.report.differing_settings import confounded
from semilung.report.formatting import number
from semilung.report.study import Group, Run, Study


@dataclass(frozen=True)
class Metric:
    """A column of `cases.csv` and the cases on which it is defined.

    Attributes:
        name: Value of `--metric`.
        column: Column of `cases.csv`.
        healthy: Defined on scans without a nodule, else on scans with one.
        label: Text in tables and on axes.
        unit: Unit after the label; empty if dimensionless.
        digits: Number of decimals.
        more_is_better: Whether higher is better.
        meaning: Definition in one line.
    """

    name: str
    column: str
    healthy: bool
    label: str
    unit: str
    digits: int
    more_is_better: bool
    meaning: str

    @property
    def title(self) -> str:
        """Return label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def text(self, value: float) -> str:
        """Return a value with label and unit, such as `HD95 5.0 mm`."""
        return f"{self.label} {number(value, self.digits)} {self.unit}".rstrip()


_METRICS = (
    Metric("dice", "dice", False, "Dice", "", 3, True,
           "Volume overlap of prediction and reference, 0 none to 1 equal; 0 for an empty "
           "prediction."),
    Metric("surface_dice", "surface_dice_2mm", False, "Surface Dice at 2 mm", "", 3, True,
           "Share of both surfaces within 2 mm of the other; 0 for an empty prediction."),
    Metric("hd95_mm", "hd95_mm", False, "HD95", "mm", 1, False,
           "95th percentile of the distances between the two surfaces; undefined for an empty "
           "prediction."),
    Metric("healthy_fp_components", "fp_components", True, "False positives on healthy scans",
           "components per scan", 2, False,
           "Connected components predicted on a scan without nodules."),
    Metric("healthy_fp_mm3", "fp_volume_mm3", True, "False positives on healthy scans",
           "mm³ per scan", 1, False,
           "Volume predicted on a scan without nodules."),
    Metric("silent", "silent", True, "Share of silent healthy scans", "", 2, True,
           "Share of scans without nodules on which nothing is predicted."),
    Metric("foreground_ece", "foreground_ece", False, "Foreground ECE", "", 3, False,
           "Expected calibration error over voxels with a predicted probability above 0.05, 0 to "
           "1."),
    Metric("ece", "ece", False, "ECE", "", 4, False,
           "Expected calibration error over all voxels, 0 to 1; always small, because most voxels "
           "are easy background."),
    Metric("brier", "brier", False, "Brier score", "", 4, False,
           "Mean squared difference between probability and reference over all voxels, 0 to 1."),
)  # fmt: skip

METRICS = {metric.name: metric for metric in _METRICS}


def defined_metrics(runs: Iterable[Run]) -> list[Metric]:
    """Return the metrics of which every run has at least one defined value."""
    runs = list(runs)
    return [metric for metric in _METRICS if all(_is_defined(run.cases, metric) for run in runs)]


def long_table(group: Group, metric: Metric, *, best: bool = False) -> pd.DataFrame:
    """Return columns arm, seed, case and the metric, one row per run and evaluated case.

    Args:
        group: Comparable runs.
        metric: Metric to select, with its cases.
        best: Use the best checkpoint; runs without an evaluation of it are omitted.
    """
    parts = []
    for name, runs in group.contenders.items():
        for run in runs:
            cases = run.best if best else run.cases
            if cases is not None:
                rows = _metric_cases(cases, metric)[["case", metric.column]]
                parts.append(rows.assign(arm=name, seed=run.seed))
    columns = ["arm", "seed", "case", metric.column]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def seed_means(cases: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Return columns arm, case and the metric averaged over seeds."""
    return cases.groupby(["arm", "case"], sort=False)[metric.column].mean().reset_index()


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as dictionaries."""
    return cast("list[dict[str, Any]]", table.to_dict("records"))


def comparison_table(study: Study, metric: Metric) -> pd.DataFrame:
    """Compare the contenders of each setting by `semilung.evaluation.compare_arms`.

    Returns:
        One row per contender: `setting`, `best_mean` (best checkpoint; NaN if not evaluated), the
        columns of `compare_arms`, and `other_settings`: the settings in which it differs from the
        reference apart from those that name it, joined by commas. If there are any, the strategy is
        confounded with them, so p is NaN and not counted in Holm's correction.
    """
    tables = [_compared(group, metric, confounded(study, group)) for group in study.groups]
    return pd.concat(tables, ignore_index=True)


def _compared(group: Group, metric: Metric, confounders: dict[str, list[str]]) -> pd.DataFrame:
    cases = long_table(group, metric)
    table = compare_arms(cases, metric=metric.column, reference=group.reference)
    table = table.set_index("arm").loc[list(group.contenders)].reset_index()
    with_best = [
        name for name, runs in group.contenders.items() if all(r.best is not None for r in runs)
    ]
    best = seed_means(long_table(group, metric, best=True), metric)
    means = best.groupby("arm")[metric.column].mean().reindex(with_best)
    table.insert(0, "setting", group.label)
    table.insert(2, "best_mean", table["arm"].map(means).astype(float))
    table["other_settings"] = [", ".join(confounders.get(name, [])) for name in table["arm"]]
    table["p"] = table["p"].where(table["other_settings"] == "")
    return table.assign(p_holm=holm(table["p"]))


def _metric_cases(cases: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    volume = cases["reference_volume_mm3"]  # NaN if every marked voxel is ignored
    return cases[volume == 0 if metric.healthy else volume > 0]


def _is_defined(cases: pd.DataFrame, metric: Metric) -> bool:
    values = _metric_cases(cases, metric)
    return metric.column in values and bool(values[metric.column].notna().any())
