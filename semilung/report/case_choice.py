"""Which cases a reader should see, and their overlays."""

from __future__ import annotations

import base64
from typing import NamedTuple

import pandas as pd

from semilung.files import is_inside
from semilung.report.compared_metrics import FIGURES, Figure, long_table, seed_means
from semilung.report.formatting import named, number
from semilung.report.study import Group, Run

SHOWN_ALARMS = 3

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_PNG = 2**24  # bytes; the overlay of a scan of 1024 voxels a side takes a quarter


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


def typical(group: Group, arm: str) -> list[Row]:
    """The median case with a nodule, and the median healthy scan, of an arm.

    Where the median has no overlay, a scan of the same value stands for it, as one silent healthy
    scan does for another; where that has none either, nothing is shown. Of several seeds the one is
    shown whose value is closest to their mean, by which the median was chosen.
    """
    rows = []
    for kind, name in (("Case with a nodule", "dice"), ("Healthy scan", "healthy_fp_mm3")):
        ranked = _ranked(group, FIGURES[name], arm)
        median = ranked.get(_middle(ranked))
        alike = [_middle(ranked), *map(str, ranked.index[ranked == median])]
        runs = {c: _closest_run(group, arm, c, FIGURES[name], ranked[c]) for c in alike if c}
        shown = [c for c, run in runs.items() if _source(run, c)[0]]
        for case in shown[:1]:
            picture = _picture(runs[case], arm, case, FIGURES[name])
            rows.append(Row(f"{kind}, the median one: {case}", [picture]))
    return rows


def segmented(group: Group, arms: list[str]) -> list[Row]:
    """The best, the median and the worst case of the last of `arms` by Dice, in all of them.

    Where no case has any overlap there is no best one, and one case stands for all.
    """
    figure = FIGURES["dice"]
    ranked = _ranked(group, figure, arms[-1])
    if ranked.empty:
        return []
    if not ranked.gt(0).any():
        case = str(ranked.index[0])
        title = f"No case has any overlap with its reference; one of them: {case}"
        return [_row(title, group, arms, case, figure)]
    chosen = {"Best": str(ranked.index[-1]), "Median": _middle(ranked), "Worst": ranked.index[0]}
    first: dict[str, str] = {}
    for name, case in chosen.items():
        first.setdefault(str(case), name)
    return [_row(f"{name} case: {case}", group, arms, case, figure) for case, name in first.items()]


def healthy(group: Group, arms: list[str]) -> list[Row]:
    """Healthy scans in all of `arms`: those of most false positives in the last, then a silent one.

    The silent one is the first that has an overlay.
    """
    figure = FIGURES["healthy_fp_mm3"]
    ranked = _ranked(group, figure, arms[-1])
    worst = [str(case) for case in ranked[ranked > 0].index[::-1][:SHOWN_ALARMS]]
    rows = [_row(f"Healthy scan: {case}", group, arms, case, figure) for case in worst]
    for case in map(str, ranked[ranked == 0].index):
        if _source(_run_of(group, arms[-1], case), case)[0]:
            title = f"Healthy scan, silent in {named(arms[-1])}: {case}"
            return [*rows, _row(title, group, arms, case, figure)]
    return rows


def _ranked(group: Group, figure: Figure, arm: str) -> pd.Series[float]:
    """Cases by their mean over seeds, ascending; of equals, the first by name comes first."""
    if any(figure.column not in run.cases for run in group.contenders[arm]):
        return pd.Series(dtype=float)
    alone = Group(group.label, {arm: group.contenders[arm]})
    means = seed_means(long_table(alone, figure), figure)
    return means.set_index("case")[figure.column].dropna().sort_index().sort_values(kind="stable")


def _middle(ranked: pd.Series[float]) -> str:
    """The median case; of an even number the lower one of the middle two; none of none."""
    return str(ranked.index[(len(ranked) - 1) // 2]) if len(ranked) else ""


def _row(title: str, group: Group, arms: list[str], case: str, figure: Figure) -> Row:
    return Row(title, [_picture(_run_of(group, arm, case), arm, case, figure) for arm in arms])


def _run_of(group: Group, arm: str, case: str) -> Run:
    return next(run for run in group.contenders[arm] if case in set(run.cases["case"]))


def _closest_run(group: Group, arm: str, case: str, figure: Figure, value: float) -> Run:
    runs = [run for run in group.contenders[arm] if case in set(run.cases["case"])]
    values = [float(run.cases.set_index("case")[figure.column][case]) for run in runs]
    return min(zip(runs, values, strict=True), key=lambda pair: abs(pair[1] - value))[0]


def _picture(run: Run, arm: str, case: str, figure: Figure) -> Picture:
    cases = run.cases.set_index("case")
    value = float(cases[figure.column][case])
    metric = f"{figure.label} {number(value, figure.digits)}"
    if figure.healthy:
        metric = f"{number(value, figure.digits)} mm³ marked" if value else "nothing marked"
    source, missing = _source(run, case)
    nothing = cases.loc[case, ["reference_volume_mm3", "predicted_volume_mm3"]].eq(0).all()
    if nothing and not source:
        missing = "nothing was predicted, rightly"
    alt = f"Axial, coronal and sagittal plane of {case} in {arm}, seed {run.seed}: {metric}."
    return Picture(f"{arm}, seed {run.seed}", metric, source, alt if source else missing)


def _source(run: Run, case: str) -> tuple[str, str]:
    """An overlay as data URI, or an empty text and why there is none."""
    path = run.overlays / f"{case}.png"
    try:
        if not path.is_file():
            return "", "no overlay was written"
        # a case's name is no path, and a link within a run brings nothing from outside
        if path.resolve().parent != run.overlays.resolve() or not is_inside(path, run.folder):
            return "", "the overlay lies outside the run's folder, so it is not shown"
        if path.stat().st_size > _MAX_PNG:
            return "", "the overlay is too large to be shown"
        content = path.read_bytes()
    except (OSError, ValueError):  # a name that no file system takes
        return "", "no overlay can be read"
    if not content.startswith(_PNG):
        return "", "the overlay is no PNG"
    return "data:image/png;base64," + base64.b64encode(content).decode(), ""
