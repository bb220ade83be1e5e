"""Summary table of an evaluation: means with 95 % intervals, as CSV, Markdown and terminal text."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from semilung.arm_names import printable
from semilung.csv_tables import write_csv
from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.empty_conventions import apply_empty_policy
from semilung.evaluation.lesion_sizes import by_size
from semilung.evaluation.metrics import Metric, Population, members, with_silence
from semilung.files import write_text


def summarise(report: Report, *, empty: str = "semilung") -> pd.DataFrame:
    """Return means with 95 % intervals, separately for positive and healthy scans.

    What is averaged over what, with which interval, is said by the table of metrics.

    Args:
        report: As returned by `evaluate_cases`, in the policy `semilung` for empty masks.
        empty: Convention of another toolkit for empty masks, whose values are added as a group of
            their own; see `apply_empty_policy`.

    Returns:
        Columns metric, group, mean, low, high, n, unit; n counts the defined values. Each metric of
        the report has a row in each group of its population: `all scans`, `positive` (scans whose
        reference has a lesion), `lesions` and `lesions <size>` (each lesion counts once, a missed
        one with Dice 0), `healthy` (scans whose reference has none) and, if these are of several
        cohorts, `healthy <cohort>`. The row `empty_prediction` is the share of positive scans with
        an empty prediction, on which `hd95_mm` is undefined: read the two together. Another
        convention adds the group `all scans, as <convention>` with the metrics that its toolkit
        computes.

    Raises:
        UserError: There is no such convention.
    """
    rows = [
        _row(metric, group, table[metric.column])
        for population, group, table in _groups(report)
        for metric in report.metrics
        if metric.population == population
        and (metric.separable or group == population)
        and metric.column in table  # not in older tables
    ]
    scored = apply_empty_policy(report.cases, empty)
    rows += [
        _row(metric, f"all scans, as {empty}", scored[metric.column])
        for metric in sorted(report.metrics, key=lambda metric: metric.column)
        if empty != "semilung" and empty in metric.empty
    ]
    return pd.DataFrame(rows)


def write_report(
    report: Report, folder: str | os.PathLike[str], *, empty: str = "semilung"
) -> None:
    """Write the tables of an evaluation, and `summary.md`, to `folder`, each atomically.

    Args:
        report: As returned by `evaluate_cases`; `cases.csv` is independent of `empty`.
        folder: Created if it does not exist.
        empty: Further convention for empty masks in the summary; see `summarise`.
    """
    summary = summarise(report, empty=empty)
    tables = {
        "cases": report.cases,
        "lesions": report.lesions,
        "findings": report.findings,
        "summary": summary,
    }
    for name, table in tables.items():
        if len(table.columns):  # tasks without lesions or findings have no such table
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


def _groups(report: Report) -> Iterator[tuple[Population, str, pd.DataFrame]]:
    """Yield the rows that means are over, with their population and the name of the group."""
    cases = with_silence(report.cases)
    yield "all scans", "all scans", cases
    yield "positive", "positive", members(cases, "positive")
    if "diameter_mm" in report.lesions:
        for size, lesions in by_size(report.lesions).items():
            yield "lesions", "lesions" if size == "all" else f"lesions {size}", lesions
    healthy = members(cases, "healthy")
    yield "healthy", "healthy", healthy
    cohorts = healthy.groupby("cohort")
    for cohort, scans in cohorts if len(cohorts) > 1 else ():
        yield "healthy", f"healthy {cohort}", scans


def _row(metric: Metric, group: str, values: Iterable[float]) -> dict[str, object]:
    interval = metric.interval(values)._asdict()
    return {"metric": metric.summary_name, "group": group, **interval, "unit": metric.unit}


_NUMBERS = ("mean", "value", "low", "high", "n")


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
    # a rule needs a dash next to its colon
    widths = [max(2, *map(len, column)) for column in zip(header, *cells, strict=True)]
    right = [name in _NUMBERS for name in header]
    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    lines = []
    for row in (header, rule, *cells):
        padded = (
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)
        )
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines) + "\n"
