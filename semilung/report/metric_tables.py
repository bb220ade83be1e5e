"""Tables of metrics, as text for HTML and Markdown and as numbers for CSV."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from semilung.csv_tables import write_csv
from semilung.evaluation import Metric
from semilung.files import write_text
from semilung.report.compared_metrics import records
from semilung.report.formatting import (
    NONE,
    between,
    number,
    p_value,
    signed,
    title,
    unit,
    unit_of_mean,
)
from semilung.tasks import Baseline


@dataclass(frozen=True)
class Table:
    """A table as text, and the data behind it.

    Attributes:
        name: Name of its files.
        caption: Title.
        header: Names of the columns.
        rows: Cells, as many per row as the header has.
        data: Content of the CSV file.
        text_columns: Number of columns from the left that contain text; the others are numeric.
        note: Explanation below the table.
    """

    name: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    data: pd.DataFrame
    text_columns: int = 1
    note: str = ""

    def markdown(self) -> str:
        """Return a Markdown table."""
        rule = ["---"] * self.text_columns + ["--:"] * (len(self.header) - self.text_columns)
        lines = [self.header, rule, *self.rows]
        return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines) + "\n"


def write_tables(tables: Iterable[Table], folder: Path) -> None:
    """Write `<name>.csv` and `<name>.md` of each table."""
    for table in tables:
        write_csv(folder / f"{table.name}.csv", table.data)
        write_text(folder / f"{table.name}.md", table.markdown())


def arms_table(
    comparison: pd.DataFrame,
    metric: Metric,
    baseline_means: dict[str, float],
    baseline: Baseline | None = None,
) -> Table:
    """Return mean, paired difference and p-value of every arm.

    Args:
        comparison: As returned by `comparison_table`.
        metric: Metric of the comparison.
        baseline_means: Setting to the mean of a baseline that does not use the image, if any.
        baseline: What it is.
    """
    d, grouped = metric.digits, bool(comparison["setting"].any())
    noun = unit_of_mean(metric)
    rows: list[list[str]] = []
    last = str(comparison["setting"].iloc[0])
    for row in records(comparison):
        if row["setting"] != last:
            rows += _baseline_row(baseline, baseline_means, last, grouped, d)
        last = row["setting"]
        cells = [
            row["arm"],
            str(row["n_seeds"]),
            str(row["n_cases"]),
            _with_interval(number(row["mean"], d), row["low"], row["high"], d),
            _with_interval(
                signed(row["difference"], d), row["difference_low"], row["difference_high"], d
            ),
            p_value(row["p"]),
            p_value(row["p_holm"]),
            number(row["best_mean"], d),
        ]
        rows.append([row["setting"], *cells] if grouped else cells)
    rows += _baseline_row(baseline, baseline_means, last, grouped, d)
    header = [
        "arm", "seeds", f"{noun}s", f"{title(metric)} (95 % interval)",
        "difference (95 % interval)", "p", "p (Holm)", f"{metric.label}, best checkpoint",
    ]  # fmt: skip
    tested = " on means of cases" if metric.population == "lesions" else ""
    note = (
        f"Last checkpoint, except for the last column. Values are averaged over seeds within each "
        f"{noun}, and arms are compared on paired {noun}s. Intervals: hierarchical bootstrap over "
        f"seeds and cases. p: two-sided Wilcoxon signed-rank test{tested}, with Holm's correction "
        f"for the number of arms compared with the reference."
    )
    if comparison["other_settings"].any():
        note += " No p-value is given for arms that differ from the reference in other settings."
    if baseline_means and baseline is not None:
        note += (
            f" The {baseline.name} is a baseline that does not use the image: {baseline.meaning}."
        )
    return Table(
        "arms",
        f"{metric.label} of each arm, and paired difference from the reference arm",
        ["setting", *header] if grouped else header,
        rows,
        comparison,
        text_columns=2 if grouped else 1,
        note=note,
    )


def _baseline_row(
    baseline: Baseline | None, means: dict[str, float], setting: str, grouped: bool, digits: int
) -> list[list[str]]:
    if baseline is None or setting not in means:
        return []
    cells = [baseline.name, NONE, NONE, number(means[setting], digits), *[""] * 4]
    return [[setting, *cells] if grouped else cells]


def _with_interval(value: str, low: float, high: float, digits: int) -> str:
    interval = between(low, high, digits)
    return f"{value} ({interval})" if interval else value


def metrics_table(metrics: Iterable[Metric]) -> Table:
    """Return unit, direction and definition of each metric."""
    rows = [
        [f.label, unit(f) or NONE, "higher" if f.more_is_better else "lower", f.meaning]
        for f in metrics
    ]
    header = ["metric", "unit", "better", "meaning"]
    return Table(
        "metrics",
        "Definition of the metrics",
        header,
        rows,
        pd.DataFrame(rows, columns=header),
        text_columns=4,
        note="Intervals are 95 % confidence intervals of the mean. A dash: undefined, or no unit.",
    )


def all_metrics_table(
    comparisons: dict[Metric, pd.DataFrame],
    name: str = "figures",
    caption: str = "All metrics of each arm, with 95 % intervals",
) -> Table:
    """Return the mean of each metric with its interval, one row per metric, one column per arm."""
    first = records(next(iter(comparisons.values())))
    names = [", ".join(filter(None, [row["arm"], row["setting"]])) for row in first]
    rows = [
        [title(metric)]
        + [
            _with_interval(
                number(row["mean"], metric.digits), row["low"], row["high"], metric.digits
            )
            for row in records(table)
        ]
        for metric, table in comparisons.items()
    ]
    data = pd.concat([table.assign(figure=metric.name) for metric, table in comparisons.items()])
    return Table(
        name,
        caption,
        ["metric", *names],
        rows,
        data,
        note=" ".join(metric.note for metric in comparisons if metric.note),
    )


def _escaped(cell: str) -> str:
    """Return a cell without Markdown table separators, line breaks or HTML tags."""
    for raw, escaped in (("|", "\\|"), ("\n", " "), ("\xa0", " "), ("<", "&lt;"), (">", "&gt;")):
        cell = cell.replace(raw, escaped)
    return cell
