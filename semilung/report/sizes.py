"""Sensitivity by the diameter of lesions: a table and a plot for each task that has lesions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes

from semilung.evaluation import Metric, size_bins
from semilung.report.compared_metrics import records
from semilung.report.formatting import NONE, between, counted, listed, number, size
from semilung.report.metric_tables import Table
from semilung.report.plot_style import Style, new_figure, svg
from semilung.report.plots import WIDTH, Plot, bars
from semilung.report.study import Group, Study


def sizes_tables(study: Study) -> list[Table]:
    """Return sensitivity by diameter, a table for each task of which a lesion was evaluated.

    Their data have a row for each setting, metric, arm and bin with lesions: the columns of
    `size_bins`, and `setting`, `metric` (its label) and `noun` (what is counted).
    """
    tables = []
    for name, task in study.tasks.items():
        metrics = [metric for metric in task.metrics if metric.by_size]
        parts = [part for group in study.groups for m in metrics for part in _bins(group, m)]
        if parts:
            data = pd.concat(parts, ignore_index=True)
            tables.append(_table(study.table_name("sizes", name), metrics, data))
    return tables


def sizes_plot(table: Table, styles: dict[str, Style]) -> Plot:
    """Plot a table of `sizes_tables` of one setting, with intervals, a panel for each metric."""
    labels, bins, names = (list(dict.fromkeys(table.data[c])) for c in ("metric", "size", "arm"))
    with new_figure(WIDTH, 0.5 + 2.8 * len(labels)) as figure:
        panels = figure.subplots(len(labels), 1, squeeze=False)[:, 0]
        for label, axes in zip(labels, panels, strict=True):
            _draw_panel(axes, table.data[table.data["metric"] == label], bins, styles)
            axes.set_ylabel(label[0].lower() + label[1:].replace(" at ", "\nat "))
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper left", ncols=3, frameon=False, handletextpad=0.3)
        picture = svg(figure)
    alt = f"{listed(labels)} by diameter: {listed(map(size, bins))}, for {listed(names)}."
    return Plot(table.name, picture, alt, f"{table.note} Error bars are 95 % intervals.")


def _draw_panel(
    axes: Axes, rows: pd.DataFrame, bins: Sequence[str], styles: dict[str, Style]
) -> None:
    """Draw sensitivity and interval of each arm by bin."""
    names = list(dict.fromkeys(rows["arm"]))
    step = min(0.14, 0.8 / len(names))
    for i, name in enumerate(names):
        points, style = rows[rows["arm"] == name], styles[name]
        at = [bins.index(b) + step * (i - (len(names) - 1) / 2) for b in points["size"]]
        axes.errorbar(
            at, points["sensitivity"], bars(points, "sensitivity"), color=style.colour,
            marker=style.marker, linestyle="none", elinewidth=1.2, markersize=6.5, label=name,
        )  # fmt: skip
    counts, noun = _counts(rows), str(rows["noun"].iloc[0])
    ticks = [f"{size(b)}\n{counted(counts.get(b, 0), noun)}" for b in bins]
    axes.set_xticks(range(len(bins)), ticks)
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(visible=False, axis="x")


def _bins(group: Group, metric: Metric) -> Iterator[pd.DataFrame]:
    """Yield the bins of a group's arms, if it has lesions."""
    lesions = [
        run.lesions.assign(arm=name, seed=run.seed)
        for name, runs in group.contenders.items()
        for run in runs
        if metric.column in run.lesions and len(run.lesions)
    ]
    if lesions:
        bins = size_bins(pd.concat(lesions), metric.column)
        noun = metric.unit.removeprefix("share of ").removesuffix("s")
        yield bins[bins["n_lesions"] > 0].assign(
            setting=group.label, metric=metric.label, noun=noun
        )


def _table(name: str, metrics: Sequence[Metric], data: pd.DataFrame) -> Table:
    counts = _counts(data)
    keys = [*(["setting"] if data["setting"].any() else []), "arm"]
    keys += ["metric"] if len(metrics) > 1 else []
    wide: dict[tuple[str, ...], dict[str, str]] = {}
    for row in records(data.sort_values("setting", kind="stable")):
        text = f"{number(row['sensitivity'], 2)} ({between(row['low'], row['high'], 2)})"
        wide.setdefault(tuple(row[key] for key in keys), {})[row["size"]] = text
    return Table(
        name,
        f"Sensitivity (share of {data['noun'].iloc[0]}s detected) by diameter, with 95 % intervals",
        [*keys, *(f"{size(b)} (n={n})" for b, n in counts.items())],
        [[*key, *(cells.get(b, NONE) for b in counts)] for key, cells in wide.items()],
        data,
        text_columns=len(keys),
        note=" ".join(dict.fromkeys(metric.meaning for metric in metrics)),
    )


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    """Return the number of lesions of each bin."""
    first = rows.drop_duplicates("size")
    return dict(zip(first["size"], first["n_lesions"].astype(int), strict=True))
