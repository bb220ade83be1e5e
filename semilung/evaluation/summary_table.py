"""Summary table of an evaluation: means with 95 % intervals, as CSV, Markdown and terminal text."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.table import Table

from semilung.arm_names import printable
from semilung.csv_tables import write_csv
from semilung.evaluation.calibration import Calibration
from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.empty_conventions import EMPTY_POLICIES, apply_empty_policy
from semilung.evaluation.intervals import Interval, bootstrap_mean, wilson
from semilung.evaluation.lesion_sizes import by_size
from semilung.files import write_text


class _Row(NamedTuple):
    metric: str
    group: str
    unit: str
    values: Iterable[float]
    interval: Callable[[Iterable[float]], Interval] = bootstrap_mean


def summarise(report: Report, *, empty: str = "semilung") -> pd.DataFrame:
    """Return means with 95 % intervals, separately for positive and healthy scans.

    Intervals of means are `bootstrap_mean`, those of sensitivity `wilson`.

    Args:
        report: As returned by `evaluate_cases`, in the policy `semilung` for empty masks.
        empty: Convention of another toolkit for empty masks, whose values are added as a group of
            their own; see `apply_empty_policy`.

    Returns:
        Columns metric, group, mean, low, high, n, unit; n counts the defined values. Groups:
        `positive` (scans whose reference has a lesion), `lesions` and `lesions <size>` (each
        lesion counts once, a missed one with Dice 0), `healthy` (scans whose reference has none)
        and, if these are of several cohorts, `healthy <cohort>`. The row `empty_prediction` is the
        share of positive scans with an empty prediction, on which `hd95_mm` is undefined: read the
        two together. Another convention adds the group `all scans, as <convention>` with the
        metrics that its toolkit computes.

    Raises:
        UserError: There is no such convention.
    """
    positive = report.cases[report.cases["reference_volume_mm3"] > 0]
    healthy = report.cases[report.cases["reference_volume_mm3"] == 0]
    rows = [*_positive(positive), *_lesions(report.lesions), *_healthy("healthy", healthy)]
    cohorts = healthy.groupby("cohort")
    if len(cohorts) > 1:
        rows += [row for name, scans in cohorts for row in _healthy(f"healthy {name}", scans)]
    rows += _as_convention(report.cases, empty)
    return pd.DataFrame(
        {"metric": r.metric, "group": r.group, **r.interval(r.values)._asdict(), "unit": r.unit}
        for r in rows
    )


def write_report(
    report: Report, folder: str | os.PathLike[str], *, empty: str = "semilung"
) -> None:
    """Write `cases.csv`, `lesions.csv`, `summary.csv` and `summary.md` to `folder`, atomically.

    Args:
        report: As returned by `evaluate_cases`; `cases.csv` is independent of `empty`.
        folder: Created if it does not exist.
        empty: Further convention for empty masks in the summary; see `summarise`.
    """
    summary = summarise(report, empty=empty)
    tables = {"cases": report.cases, "lesions": report.lesions, "summary": summary}
    for name, table in tables.items():
        write_csv(Path(folder) / f"{name}.csv", table)
    write_text(Path(folder) / "summary.md", _markdown(summary))


def print_table(summary: pd.DataFrame, console: Console | None = None) -> None:
    """Print the result of `summarise` as a table (to standard output by default)."""
    table = Table()
    for column in summary.columns:
        table.add_column(str(column), justify="right" if column in _NUMBERS else "left")
    for row in _cells(summary):
        table.add_row(*map(printable, row))
    # rich assumes 80 columns where there is no terminal, which would truncate the names
    width = None if sys.stdout.isatty() else 120
    (console or Console(width=width)).print(table, markup=False)


def _positive(scans: pd.DataFrame) -> Iterator[_Row]:
    yield _Row("dice", "positive", "", scans["dice"])
    yield _Row("surface_dice_2mm", "positive", "", scans["surface_dice_2mm"])
    yield _Row("hd95_mm", "positive", _UNITS["hd95_mm"], scans["hd95_mm"])
    empty = scans["predicted_volume_mm3"] == 0
    yield _Row("empty_prediction", "positive", "share of scans", empty)
    yield _Row("fp_components", "positive", "per scan", scans["fp_components"])
    yield _Row("fp_volume_mm3", "positive", "mm3 per scan", scans["fp_volume_mm3"])
    yield from _calibration("positive", scans)


def _lesions(lesions: pd.DataFrame) -> Iterator[_Row]:
    for size, sized in by_size(lesions).items():
        group = "lesions" if size == "all" else f"lesions {size}"
        yield _Row("sensitivity", group, "share of lesions", sized["detected"], wilson)
        yield _Row("lesion_dice", group, "", sized["dice"])


def _healthy(group: str, scans: pd.DataFrame) -> Iterator[_Row]:
    yield _Row("fp_components", group, "per scan", scans["fp_components"])
    yield _Row("fp_volume_mm3", group, "mm3 per scan", scans["fp_volume_mm3"])
    silent = scans["predicted_volume_mm3"] == 0
    yield _Row("silent", group, "share of scans", silent)
    yield from _calibration(group, scans)


def _as_convention(cases: pd.DataFrame, empty: str) -> Iterator[_Row]:
    scored = apply_empty_policy(cases, empty)
    for metric in EMPTY_POLICIES[empty] if empty != "semilung" else ():
        yield _Row(metric, f"all scans, as {empty}", _UNITS.get(metric, ""), scored[metric])


def _calibration(group: str, scans: pd.DataFrame) -> Iterator[_Row]:
    for metric in [name for name in Calibration._fields if name in scans]:  # not in older tables
        yield _Row(metric, group, "", scans[metric])


_UNITS = {"hd95_mm": "mm"}
_NUMBERS = ("mean", "low", "high", "n")


def _cells(summary: pd.DataFrame) -> list[list[str]]:
    def text(value: object) -> str:
        if not isinstance(value, float):
            return str(value)
        if math.isnan(value):
            return "-"
        return f"{value:z.3f}" if abs(value) < 10 else f"{value:z.1f}"

    return [[text(value) for value in row] for row in summary.itertuples(index=False)]


def _markdown(summary: pd.DataFrame) -> str:
    header, cells = [str(column) for column in summary.columns], _cells(summary)
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    right = [name in _NUMBERS for name in header]
    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    lines = []
    for row in (header, rule, *cells):
        padded = (
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)
        )
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines) + "\n"
