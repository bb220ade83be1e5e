"""Tables of figures: as text for the page and Markdown, as numbers for the CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from semilung.csv_tables import write_csv
from semilung.evaluation import size_bins
from semilung.files import write_text
from semilung.report.compared_metrics import FIGURES, Figure, records
from semilung.report.formatting import NONE, between, number, p_value, signed, size
from semilung.report.study import Group


@dataclass(frozen=True)
class Table:
    """Cells as text, and the figures behind them.

    Attributes:
        name: Of its files.
        caption: What it shows.
        header: Names of the columns.
        rows: Cells, as many a row as the header has.
        data: What the CSV holds.
        words: How many columns from the left hold words; the others hold figures.
        note: What to know to read it.
    """

    name: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    data: pd.DataFrame
    words: int = 1
    note: str = ""

    def markdown(self) -> str:
        """As a Markdown table."""
        rule = ["---"] * self.words + ["--:"] * (len(self.header) - self.words)
        lines = [self.header, rule, *self.rows]
        return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines) + "\n"


def write_tables(tables: Iterable[Table], folder: Path) -> None:
    """Write `<name>.csv` and `<name>.md` of each."""
    for table in tables:
        write_csv(folder / f"{table.name}.csv", table.data)
        write_text(folder / f"{table.name}.md", table.markdown())


def arms_table(found: pd.DataFrame, figure: Figure, ball: dict[str, float]) -> Table:
    """Mean, paired difference and p of every arm by the figure of the report.

    Args:
        found: What `compared` returns.
        figure: What it was compared by.
        ball: Setting to the mean of the content-blind ball; empty where there is none.
    """
    d, grouped = figure.digits, bool(found["setting"].any())
    rows: list[list[str]] = []
    last = str(found["setting"].iloc[0])
    for row in records(found):
        if row["setting"] != last:
            rows += _ball_row(ball, last, grouped, d)
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
    rows += _ball_row(ball, last, grouped, d)
    header = [
        "arm", "seeds", "cases", f"{figure.title} (95 % interval)", "difference (95 % interval)",
        "p", "p (Holm)", f"{figure.label}, best checkpoint",
    ]  # fmt: skip
    note = (
        "Last checkpoint, but for the last column. Seeds are averaged within a case before arms "
        "are paired by case. Intervals: hierarchical bootstrap over seeds and cases. p: Wilcoxon "
        "signed rank, then Holm's correction over the arms of a setting."
    )
    if found["other_settings"].any():
        note += " No p where an arm differs from the reference in other settings too."
    if ball:
        note += (
            " The content-blind ball never looks at the image: one ball, its place and size fitted "
            "on every training mask of the manifest."
        )
    return Table(
        "arms",
        f"{figure.label} of each arm, and its paired difference from the reference arm",
        ["setting", *header] if grouped else header,
        rows,
        found,
        words=2 if grouped else 1,
        note=note,
    )


def _ball_row(ball: dict[str, float], setting: str, grouped: bool, digits: int) -> list[list[str]]:
    if setting not in ball:
        return []
    cells = ["content-blind ball", NONE, NONE, number(ball[setting], digits), *[""] * 4]
    return [[setting, *cells] if grouped else cells]


def _with_interval(value: str, low: float, high: float, digits: int) -> str:
    interval = between(low, high, digits)
    return f"{value} ({interval})" if interval else value


def metrics_table(figures: Iterable[Figure]) -> Table:
    """What each metric is, in which unit, and which way is better."""
    rows = [
        [f.label, f.unit or NONE, "higher" if f.more_is_better else "lower", f.meaning]
        for f in figures
    ]
    header = ["metric", "unit", "better", "meaning"]
    return Table(
        "metrics",
        "What the metrics mean",
        header,
        rows,
        pd.DataFrame(rows, columns=header),
        words=4,
        note="A 95 % interval holds the mean with this confidence; a dash is undefined.",
    )


def figures_table(
    found: dict[Figure, pd.DataFrame],
    name: str = "figures",
    caption: str = "All metrics of each arm, with 95 % intervals",
) -> Table:
    """The mean of each metric with its interval: a row a metric, a column an arm."""
    first = records(next(iter(found.values())))
    names = [", ".join(filter(None, [row["arm"], row["setting"]])) for row in first]
    rows = [
        [figure.title]
        + [
            _with_interval(
                number(row["mean"], figure.digits), row["low"], row["high"], figure.digits
            )
            for row in records(table)
        ]
        for figure, table in found.items()
    ]
    data = pd.concat([table.assign(figure=f.name) for f, table in found.items()])
    return Table(
        name,
        caption,
        ["metric", *names],
        rows,
        data,
        note="HD95 is undefined where nothing was predicted: read it together with the Dice."
        if FIGURES["hd95_mm"] in found
        else "",
    )


def sizes_table(groups: Sequence[Group]) -> Table | None:
    """Sensitivity by diameter; None where no lesion was judged."""
    parts = []
    for group in groups:
        lesions = [
            run.lesions.assign(arm=name, seed=run.seed)
            for name, runs in group.contenders.items()
            for run in runs
            if len(run.lesions)
        ]
        if lesions:
            parts.append(size_bins(pd.concat(lesions)).assign(setting=group.label))
    if not parts:
        return None
    data = pd.concat(parts, ignore_index=True)
    data = data[data["n_lesions"] > 0]
    wide: dict[tuple[str, str], list[str]] = {}
    for row in records(data):
        text = f"{number(row['sensitivity'], 2)} ({between(row['low'], row['high'], 2)})"
        wide.setdefault((row["setting"], row["arm"]), []).append(text)
    counts = data.drop_duplicates("size").set_index("size")["n_lesions"]
    grouped = data["setting"].any()
    return Table(
        "sizes",
        "Share of lesions found, by diameter, with 95 % intervals",
        [
            *(["setting"] if grouped else []),
            "arm",
            *(f"{size(str(s))} (n={n})" for s, n in counts.items()),
        ],
        [[*(key if grouped else key[1:]), *cells] for key, cells in wide.items()],
        data,
        words=2 if grouped else 1,
    )


def _escaped(cell: str) -> str:
    """A cell that cannot break out of a Markdown table, nor be read as HTML."""
    for bad, good in (("|", "\\|"), ("\n", " "), ("\xa0", " "), ("<", "&lt;"), (">", "&gt;")):
        cell = cell.replace(bad, good)
    return cell
