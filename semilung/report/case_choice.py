"""Choice of the cases that a report shows, and their overlays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from semilung.evaluation import Metric
from semilung.evaluation.finding_picture import WORST
from semilung.evaluation.metrics import members
from semilung.files import is_inside
from semilung.html_templates import data_uri
from semilung.report.compared_metrics import long_table, records, seed_means
from semilung.report.formatting import false_positives, number, quoted, valued
from semilung.report.study import Group, Run
from semilung.tasks import CLOSE_UPS

SHOWN_FALSE_POSITIVES = 3

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_PNG = 2**24  # bytes; four times the overlay of a scan of 1024 voxels per axis


class Picture(NamedTuple):
    """Overlay of one run's prediction, with its metric as text.

    `source` is a data URI; if it is empty, `alt` is the reason.
    """

    title: str
    value: str
    source: str
    alt: str


class Row(NamedTuple):
    """One case in several arms, shown side by side."""

    title: str
    pictures: list[Picture]


def median_cases(group: Group, metrics: Sequence[Metric], arm: str) -> list[Row]:
    """Return the median case of an arm by each metric: one with a nodule, or a healthy scan.

    If the median case has no overlay, another case of equal value replaces it, such as another
    silent healthy scan; if none has one, the row is omitted. Of several seeds, the one closest to
    their mean is shown, because the ranking is by that mean.
    """
    rows = []
    for metric in metrics:
        ranked = _ranked(group, metric, arm)
        median = ranked.get(_median(ranked))
        equal = [_median(ranked), *map(str, ranked.index[ranked == median])]
        runs = {c: _closest_run(group, arm, c, metric, ranked[c]) for c in equal if c}
        with_overlay = [c for c, run in runs.items() if _overlay(run, c)[0]]
        for case in with_overlay[:1]:
            picture = _picture(runs[case], arm, case, metric)
            kind = "healthy scan" if metric.healthy else "case with a nodule"
            rows.append(Row(f"Median {kind}: {case}", [picture]))
    return rows


def ranked_cases(group: Group, metric: Metric, arms: list[str]) -> list[Row]:
    """Return the best, median and worst case of the last of `arms`, shown in all of them.

    If the metric is 0 in every case, one case is returned instead.
    """
    ranked = _ranked(group, metric, arms[-1])
    if ranked.empty:
        return []
    if not ranked.gt(0).any():
        case = str(ranked.index[0])
        title = f"{metric.label} is 0 in every case; one of them: {case}"
        return [_row(title, group, arms, case, metric)]
    worst, best = ranked.index[[0, -1] if metric.more_is_better else [-1, 0]]
    ranks = {"Best": str(best), "Median": _median(ranked), "Worst": str(worst)}
    first_rank: dict[str, str] = {}
    for rank, case in ranks.items():
        first_rank.setdefault(str(case), rank)
    return [
        _row(f"{rank} case: {case}", group, arms, case, metric) for case, rank in first_rank.items()
    ]


def healthy_scans(group: Group, metric: Metric, arms: list[str]) -> list[Row]:
    """Return the healthy scans with most false positives in the last of `arms`, and a silent one.

    All are shown in each of `arms`, but for scans without an overlay in any, as of findings that
    are too improbable to be drawn. The silent scan is the first that has an overlay.
    """
    ranked = _ranked(group, metric, arms[-1])
    worst = [str(case) for case in ranked[ranked > 0].index[::-1][:SHOWN_FALSE_POSITIVES]]
    rows = [_row(f"Healthy scan: {case}", group, arms, case, metric) for case in worst]
    rows = [row for row in rows if any(picture.source for picture in row.pictures)]
    for case in map(str, ranked[ranked == 0].index):
        if _overlay(_run_of(group, arms[-1], case), case)[0]:
            title = f"Healthy scan without false positives in {quoted(arms[-1])}: {case}"
            return [*rows, _row(title, group, arms, case, metric)]
    return rows


def false_findings(group: Group, arms: Sequence[str]) -> list[Row]:
    """Return the close-ups of false findings of each arm's first run that has any.

    They are those that its evaluation drew: of healthy scans first, the most probable first.
    """
    rows = []
    for arm in arms:
        for run in group.contenders[arm]:
            pictures = [_close_up(run, finding) for finding in _pictured(run)]
            if pictures:
                rows.append(Row(f"{arm}, seed {run.seed}", pictures))
                break
    return rows


def _pictured(run: Run) -> list[dict[str, Any]]:
    """Return the findings with a close-up, those of healthy scans first."""
    if "picture" not in run.findings:
        return []
    columns = ["case", "x_mm", "y_mm", "z_mm", "diameter_mm", "probability", "picture"]
    findings = run.findings.reindex(columns=columns).dropna(subset="picture")
    healthy = members(run.cases, "healthy")["case"]
    findings = findings.assign(healthy=findings["case"].isin(healthy))
    ranked = findings.sort_values(["healthy", "probability"], ascending=False, kind="stable")
    return records(ranked.head(WORST))


def _close_up(run: Run, finding: Mapping[str, Any]) -> Picture:
    at = ", ".join(number(finding[f"{axis}_mm"], 1) for axis in "xyz")
    kind = "healthy scan" if finding["healthy"] else "scan with nodules"
    title = f"{finding['case']}, {kind}: {number(finding['diameter_mm'], 1)} mm at ({at})"
    value = f"probability {number(finding['probability'], 2)}"
    source, reason = _source(run, run.overlays / CLOSE_UPS, str(finding["picture"]))
    alt = f"Axial, coronal and sagittal plane through a false finding of {title}, {value}."
    return Picture(title, value, source, alt if source else reason)


def _ranked(group: Group, metric: Metric, arm: str) -> pd.Series[float]:
    """Return means over seeds by case, ascending, ties in the order of names."""
    if any(metric.column not in run.rows(metric) for run in group.contenders[arm]):
        return pd.Series(dtype=float)
    single = Group(group.label, {arm: group.contenders[arm]})
    means = seed_means(long_table(single, metric), metric)
    by_case = means.groupby("case")[metric.column].mean()
    return by_case.dropna().sort_index().sort_values(kind="stable")


def _median(ranked: pd.Series[float]) -> str:
    """Return the median case, the lower of the middle two, or an empty text if there is none."""
    return str(ranked.index[(len(ranked) - 1) // 2]) if len(ranked) else ""


def _row(title: str, group: Group, arms: list[str], case: str, metric: Metric) -> Row:
    return Row(title, [_picture(_run_of(group, arm, case), arm, case, metric) for arm in arms])


def _run_of(group: Group, arm: str, case: str) -> Run:
    return next(run for run in group.contenders[arm] if case in set(run.cases["case"]))


def _closest_run(group: Group, arm: str, case: str, metric: Metric, value: float) -> Run:
    runs = [run for run in group.contenders[arm] if case in set(run.cases["case"])]
    values = [run.value(metric, case) for run in runs]
    return min(zip(runs, values, strict=True), key=lambda pair: abs(pair[1] - value))[0]


def _picture(run: Run, arm: str, case: str, metric: Metric) -> Picture:
    cases, value = run.cases.set_index("case"), run.value(metric, case)
    text = valued(metric, value)
    if metric.healthy:
        text = false_positives(metric, value)
    source, reason = _overlay(run, case)
    volumes = cases.reindex(columns=["reference_volume_mm3", "predicted_volume_mm3"]).loc[case]
    if not source and volumes.eq(0).all():
        reason = "no nodule and no prediction"
    alt = f"Axial, coronal and sagittal plane of {case} in {arm}, seed {run.seed}: {text}."
    return Picture(f"{arm}, seed {run.seed}", text, source, alt if source else reason)


def _overlay(run: Run, case: str) -> tuple[str, str]:
    return _source(run, run.overlays, f"{case}.png")


def _source(run: Run, folder: Path, name: str) -> tuple[str, str]:
    """Return a picture as data URI, or an empty text and the reason."""
    path = folder / name
    try:
        if not path.is_file():
            return "", "no overlay was written"
        # neither a case name with ../ nor a symbolic link may include a file from outside the run
        if path.resolve().parent != folder.resolve() or not is_inside(path, run.folder):
            return "", "the overlay lies outside the run's folder, so it is not shown"
        if path.stat().st_size > _MAX_PNG:
            return "", "the overlay is too large to be shown"
        content = path.read_bytes()
    except (OSError, ValueError):  # the name is invalid on this file system
        return "", "the overlay cannot be read"
    if not content.startswith(_PNG):
        return "", "the overlay is not a PNG file"
    return data_uri("png", content), ""
