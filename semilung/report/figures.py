"""The figures that arms are compared by, and the comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from semilung.evaluation import compare_arms
from semilung.report.study import Group, Run, Study


@dataclass(frozen=True)
class Figure:
    """A column of `cases.csv` over the cases that it makes sense on.

    Attributes:
        name: As `--figure` has it.
        column: Of `cases.csv`.
        healthy: Over scans without a nodule, else over scans with one.
        label: In tables and on axes.
        unit: After the label; empty where there is none.
        digits: Decimals.
        more_is_better: Whether a high value is a good one.
    """

    name: str
    column: str
    healthy: bool
    label: str
    unit: str
    digits: int
    more_is_better: bool

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


_FIGURES = (
    Figure("dice", "dice", False, "Dice", "", 3, True),
    Figure("surface_dice", "surface_dice_2mm", False, "Surface Dice at 2 mm", "", 3, True),
    Figure("hd95_mm", "hd95_mm", False, "HD95", "mm", 1, False),
    Figure("healthy_fp_components", "fp_components", True, "Healthy false positives",
           "components a scan", 2, False),
    Figure("healthy_fp_mm3", "fp_volume_mm3", True, "Healthy false positives",
           "mm³ a scan", 1, False),
    Figure("foreground_ece", "foreground_ece", False, "Foreground ECE", "", 3, False),
    Figure("ece", "ece", False, "ECE", "", 4, False),
    Figure("brier", "brier", False, "Brier score", "", 4, False),
)  # fmt: skip

FIGURES = {figure.name: figure for figure in _FIGURES}


def known(runs: Iterable[Run]) -> list[Figure]:
    """Figures that every run has at least one defined value of."""
    runs = list(runs)
    return [figure for figure in _FIGURES if all(_chosen(r.cases, figure).any() for r in runs)]


def long_table(group: Group, figure: Figure, *, best: bool = False) -> pd.DataFrame:
    """Columns arm, seed, case and the figure; a row a judged case of each run.

    Args:
        group: Runs that may be compared.
        figure: What to compare them by.
        best: Of the best checkpoint; runs that were not judged with it are left out.
    """
    parts = []
    for name, runs in group.contenders.items():
        for run in runs:
            cases = run.best if best else run.cases
            if cases is not None:
                rows = _of_figure(cases, figure)[["case", figure.column]]
                parts.append(rows.assign(arm=name, seed=run.seed))
    columns = ["arm", "seed", "case", figure.column]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def seed_means(cases: pd.DataFrame, figure: Figure) -> pd.DataFrame:
    """Columns arm, case and the figure: the mean over seeds of each case."""
    return cases.groupby(["arm", "case"], sort=False)[figure.column].mean().reset_index()


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows by column name."""
    return cast("list[dict[str, Any]]", table.to_dict("records"))


def compared(study: Study, figure: Figure) -> pd.DataFrame:
    """What `semilung.evaluation.compare_arms` finds within each setting.

    Returns:
        A row a contender: `setting`, `best_mean` (best checkpoint; NaN where not judged), then
        the columns of `compare_arms`.
    """
    return pd.concat([_compared(group, figure) for group in study.groups], ignore_index=True)


def _compared(group: Group, figure: Figure) -> pd.DataFrame:
    cases = long_table(group, figure)
    found = compare_arms(cases, figure=figure.column, reference=group.reference)
    found = found.set_index("arm").loc[list(group.contenders)].reset_index()
    whole = [
        name for name, runs in group.contenders.items() if all(r.best is not None for r in runs)
    ]
    best = seed_means(long_table(group, figure, best=True), figure)
    means = best.groupby("arm")[figure.column].mean().reindex(whole)
    found.insert(0, "setting", group.label)
    found.insert(2, "best_mean", found["arm"].map(means).astype(float))
    return found


def _of_figure(cases: pd.DataFrame, figure: Figure) -> pd.DataFrame:
    healthy = cases["reference_volume_mm3"] == 0
    return cases[healthy if figure.healthy else ~healthy]


def _chosen(cases: pd.DataFrame, figure: Figure) -> np.ndarray:
    if figure.column not in cases:
        return np.zeros(0, bool)
    return np.asarray(_of_figure(cases, figure)[figure.column].notna())
