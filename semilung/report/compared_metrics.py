"""The metrics that arms are compared by, and the comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from semilung.evaluation import compare_arms, holm
from semilung.report.differing_settings import unlike
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
        meaning: One line for the page's legend.
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
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


_FIGURES = (
    Figure("dice", "dice", False, "Dice", "", 3, True,
           "Overlap of prediction and reference by volume: 0 none, 1 equal; 0 where nothing was "
           "predicted."),
    Figure("surface_dice", "surface_dice_2mm", False, "Surface Dice at 2 mm", "", 3, True,
           "Share of both surfaces that lies within 2 mm of the other one."),
    Figure("hd95_mm", "hd95_mm", False, "HD95", "mm", 1, False,
           "95th percentile of the distances between the two surfaces; undefined where nothing was "
           "predicted."),
    Figure("healthy_fp_components", "fp_components", True, "Healthy false positives",
           "components a scan", 2, False,
           "Separate regions marked on a scan that is known to have no nodule."),
    Figure("healthy_fp_mm3", "fp_volume_mm3", True, "Healthy false positives",
           "mm³ a scan", 1, False,
           "FP volume: all that is marked on a scan that is known to have no nodule."),
    Figure("silent", "silent", True, "Silent healthy scans", "share", 2, True,
           "Healthy scans on which nothing at all is marked."),
    Figure("foreground_ece", "foreground_ece", False, "Foreground ECE", "", 3, False,
           "Expected calibration error where the probability is above 0.05: how far stated "
           "probabilities are from observed shares, 0 to 1."),
    Figure("ece", "ece", False, "ECE", "", 4, False,
           "Expected calibration error over all voxels, 0 to 1; small for every net, as nearly all "
           "voxels are easy background."),
    Figure("brier", "brier", False, "Brier score", "", 4, False,
           "Mean squared difference of probability and reference over all voxels, 0 to 1."),
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
        A row a contender: `setting`, `best_mean` (best checkpoint; NaN where not evaluated), then
        the columns of `compare_arms`, and `other_settings`: what differs from the reference besides
        what the contender is named after, joined by commas. Where anything does, p is NaN and takes
        no part in Holm's correction: such a pair is no test of the strategy.
    """
    tables = [_compared(group, figure, unlike(study, group)) for group in study.groups]
    return pd.concat(tables, ignore_index=True)


def _compared(group: Group, figure: Figure, confounded: dict[str, list[str]]) -> pd.DataFrame:
    cases = long_table(group, figure)
    found = compare_arms(cases, metric=figure.column, reference=group.reference)
    found = found.set_index("arm").loc[list(group.contenders)].reset_index()
    whole = [
        name for name, runs in group.contenders.items() if all(r.best is not None for r in runs)
    ]
    best = seed_means(long_table(group, figure, best=True), figure)
    means = best.groupby("arm")[figure.column].mean().reindex(whole)
    found.insert(0, "setting", group.label)
    found.insert(2, "best_mean", found["arm"].map(means).astype(float))
    found["other_settings"] = [", ".join(confounded.get(name, [])) for name in found["arm"]]
    found["p"] = found["p"].where(found["other_settings"] == "")
    return found.assign(p_holm=holm(found["p"]))


def _of_figure(cases: pd.DataFrame, figure: Figure) -> pd.DataFrame:
    volume = cases["reference_volume_mm3"]  # NaN where all that is marked is ignored
    return cases[volume == 0 if figure.healthy else volume > 0]


def _chosen(cases: pd.DataFrame, figure: Figure) -> np.ndarray:
    if figure.column not in cases:
        return np.zeros(0, bool)
    return np.asarray(_of_figure(cases, figure)[figure.column].notna())
