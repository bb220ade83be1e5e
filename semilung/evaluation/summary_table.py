"""From a report to the table that goes into the paper."""

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


class _Figure(NamedTuple):
    metric: str
    group: str
    unit: str
    values: Iterable[float]
    interval: Callable[[Iterable[float]], Interval] = bootstrap_mean


def summarise(report: Report, *, empty: str = "semilung") -> pd.DataFrame:
    """Means with 95 % intervals; scans with nodules and scans without kept apart.

    Intervals of means are those of `bootstrap_mean`, of sensitivity those of `wilson`.

    Args:
        report: In our own policy for empty masks, as `evaluate_cases` returns it.
        empty: Another toolkit's convention for empty masks, to show its figures beside ours; see
            `apply_empty_policy`. The rows above stay as they are.

    Returns:
        Columns metric, group, mean, low, high, n, unit; n counts the defined values. Groups:
        `positive` (scans whose reference has a lesion), `lesions` and `lesions <size>` (each
        lesion counts once, a missed one with Dice 0), `healthy` (scans whose reference
        has none) and, where there are several cohorts of these, `healthy <cohort>`. The row
        `empty_prediction` is the share of positive scans on which nothing was predicted and
        `hd95_mm` is undefined: read the two together. With another convention the group
        `all scans, as <convention>` holds the figures that its toolkit computes.

    Raises:
        UserError: There is no such convention.
    """
    positive = report.cases[report.cases["reference_volume_mm3"] > 0]
    healthy = report.cases[report.cases["reference_volume_mm3"] == 0]
    figures = [*_positive(positive), *_lesions(report.lesions), *_healthy("healthy", healthy)]
    cohorts = healthy.groupby("cohort")
    if len(cohorts) > 1:
        figures += [f for name, scans in cohorts for f in _healthy(f"healthy {name}", scans)]
    figures += _as_convention(report.cases, empty)
    rows = [
        {"metric": f.metric, "group": f.group, **f.interval(f.values)._asdict(), "unit": f.unit}
        for f in figures
    ]
    return pd.DataFrame(rows)


def write_report(
    report: Report, folder: str | os.PathLike[str], *, empty: str = "semilung"
) -> None:
    """Write `cases.csv`, `lesions.csv`, `summary.csv` and `summary.md` to `folder`, atomically.

    Args:
        report: As `evaluate_cases` returns it; `cases.csv` holds it as it is.
        folder: Made where it does not exist.
        empty: Convention for empty masks of the summary; see `summarise`.
    """
    summary = summarise(report, empty=empty)
    tables = {"cases": report.cases, "lesions": report.lesions, "summary": summary}
    for name, table in tables.items():
        write_csv(Path(folder) / f"{name}.csv", table)
    write_text(Path(folder) / "summary.md", _markdown(summary))


def print_table(summary: pd.DataFrame, console: Console | None = None) -> None:
    """Print what `summarise` returns as a table (to standard output by default)."""
    table = Table()
    for column in summary.columns:
        table.add_column(str(column), justify="right" if column in _NUMBERS else "left")
    for row in _cells(summary):
        table.add_row(*map(printable, row))
    # Off a terminal rich assumes 80 columns, which would cut the names.
    wide = None if sys.stdout.isatty() else 120
    (console or Console(width=wide)).print(table, markup=False)


def _positive(scans: pd.DataFrame) -> Iterator[_Figure]:
    yield _Figure("dice", "positive", "", scans["dice"])
    yield _Figure("surface_dice_2mm", "positive", "", scans["surface_dice_2mm"])
    yield _Figure("hd95_mm", "positive", _UNITS["hd95_mm"], scans["hd95_mm"])
    empty = scans["predicted_volume_mm3"] == 0
    yield _Figure("empty_prediction", "positive", "share of scans", empty)
    yield _Figure("fp_components", "positive", "per scan", scans["fp_components"])
    yield _Figure("fp_volume_mm3", "positive", "mm3 per scan", scans["fp_volume_mm3"])
    yield from _calibration("positive", scans)


def _lesions(lesions: pd.DataFrame) -> Iterator[_Figure]:
    for size, chosen in by_size(lesions).items():
        group = "lesions" if size == "all" else f"lesions {size}"
        yield _Figure("sensitivity", group, "share of lesions", chosen["detected"], wilson)
        yield _Figure("lesion_dice", group, "", chosen["dice"])


def _healthy(group: str, scans: pd.DataFrame) -> Iterator[_Figure]:
    yield _Figure("fp_components", group, "per scan", scans["fp_components"])
    yield _Figure("fp_volume_mm3", group, "mm3 per scan", scans["fp_volume_mm3"])
    silent = scans["predicted_volume_mm3"] == 0
    yield _Figure("silent", group, "share of scans", silent)
    yield from _calibration(group, scans)


def _as_convention(cases: pd.DataFrame, empty: str) -> Iterator[_Figure]:
    scored = apply_empty_policy(cases, empty)
    for metric in EMPTY_POLICIES[empty] if empty != "semilung" else ():
        yield _Figure(metric, f"all scans, as {empty}", _UNITS.get(metric, ""), scored[metric])


def _calibration(group: str, scans: pd.DataFrame) -> Iterator[_Figure]:
    for metric in [name for name in Calibration._fields if name in scans]:  # older tables lack them
        yield _Figure(metric, group, "", scans[metric])


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
