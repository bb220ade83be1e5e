"""Which cases a reader should see, and their overlays."""

from __future__ import annotations

import base64
from typing import NamedTuple

import pandas as pd

from semilung.report.figures import FIGURES, Figure, long_table, seed_means
from semilung.report.study import Group, Run
from semilung.report.text import number

SHOWN_ALARMS = 3


class Picture(NamedTuple):
    """An overlay of one run's prediction; `source` is a data URI, empty where there is none."""

    title: str
    figure: str
    source: str
    alt: str


class Row(NamedTuple):
    """One case in the arms that are shown side by side."""

    title: str
    pictures: list[Picture]


def segmented(group: Group, arms: list[str]) -> list[Row]:
    """The best, the median and the worst case of the last of `arms` by Dice, in all of them."""
    figure = FIGURES["dice"]
    ranked = _ranked(group, figure, arms[-1])
    if ranked.empty:
        return []
    middle = (len(ranked) - 1) // 2
    chosen = {"Best": -1, "Median": middle, "Worst": 0}
    rows = {name: str(ranked.index[position]) for name, position in chosen.items()}
    return [_row(f"{name} case: {case}", group, arms, case, figure) for name, case in rows.items()]


def alarms(group: Group, arms: list[str]) -> list[Row]:
    """The healthy scans with most false-positive volume in the last of `arms`, in all of them."""
    figure = FIGURES["healthy_fp_mm3"]
    ranked = _ranked(group, figure, arms[-1])
    worst = ranked[ranked > 0].index[::-1][:SHOWN_ALARMS]
    return [_row(f"Healthy scan: {case}", group, arms, str(case), figure) for case in worst]


def _ranked(group: Group, figure: Figure, arm: str) -> pd.Series[float]:
    """Cases by their mean over seeds, ascending; of equals, the first by name comes first."""
    means = seed_means(long_table(group, figure), figure)
    own = means[means["arm"] == arm].set_index("case")[figure.column].dropna()
    return own.sort_index().sort_values(kind="stable")


def _row(title: str, group: Group, arms: list[str], case: str, figure: Figure) -> Row:
    shown = []
    for arm in arms:
        run = next(r for r in group.contenders[arm] if case in set(r.cases["case"]))
        shown.append(_picture(run, arm, case, figure))
    return Row(title, shown)


def _picture(run: Run, arm: str, case: str, figure: Figure) -> Picture:
    cases = run.cases.set_index("case")
    value = float(cases[figure.column][case])
    told = f"{figure.label} {number(value, figure.digits)}"
    if figure.healthy:
        told = f"{number(value, figure.digits)} mm³ marked"
    path = run.overlays / f"{case}.png"
    inside = path.resolve().parent == run.overlays.resolve()  # a case's name is no path
    source = ""
    if inside and path.is_file():
        source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    nothing = cases.loc[case, ["reference_volume_mm3", "predicted_volume_mm3"]].eq(0).all()
    alt = f"Axial, coronal and sagittal plane of {case} in {arm}, seed {run.seed}: {told}."
    missing = "nothing was predicted, rightly" if nothing else "no overlay was written"
    return Picture(f"{arm}, seed {run.seed}", told, source, alt if source else missing)
