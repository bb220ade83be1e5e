"""Plots of a comparison, with 95 % intervals, captions and alternative text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axis import Axis

from semilung.evaluation import Metric
from semilung.report.compared_metrics import long_table, records, seed_means
from semilung.report.formatting import amount, counted, listed, number, title, unit_of_mean
from semilung.report.label_placement import label_dots
from semilung.report.plot_style import INK, MUTED, Style, new_figure, svg
from semilung.report.study import Group

WIDTH = 7.6


class Plot(NamedTuple):
    """A plot as SVG, with alternative text and caption."""

    name: str
    svg: str
    alt: str
    caption: str


def forest(
    group: Group,
    metric: Metric,
    rows: pd.DataFrame,
    styles: dict[str, Style],
    baseline: tuple[str, float] | None = None,
) -> Plot:
    """Forest plot: mean and interval of each arm, with the means of its seeds.

    Args:
        group: Comparable runs.
        metric: Metric of the comparison.
        rows: Its rows of `comparison_table`.
        styles: Style of each arm.
        baseline: Name and mean of a baseline that does not use the image.
    """
    means = long_table(group, metric).groupby(["arm", "seed"])[metric.column].mean()
    names = list(rows["arm"])
    with new_figure(WIDTH, 0.8 + 0.42 * len(names)) as figure:
        axes = figure.subplots()
        for y, row in enumerate(records(rows)):
            style = styles[row["arm"]]
            axes.plot([row["low"], row["high"]], [y, y], color=style.colour, linewidth=2.2)
            axes.plot(row["mean"], y, style.marker, color=style.colour, markersize=7, zorder=3)
            seeds = means.loc[row["arm"]]
            axes.plot(seeds, [y - 0.3] * len(seeds), "|", color=style.colour, markersize=6)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.7)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        set_limits(axes.set_xlim, metric, rows)
        axes.set_xlabel(f"{title(metric)}, mean and 95 % interval")
        if baseline is not None:
            name, mean = baseline
            axes.axvline(mean, color=MUTED, linestyle=(0, (2, 2)), linewidth=1.2)
            axes.annotate(
                name, (mean, -0.7), (3, 1), textcoords="offset points",
                color=MUTED, va="bottom", fontsize=8,
            )  # fmt: skip
        picture = svg(figure)
    means_text = "; ".join(f"{r['arm']} {number(r['mean'], metric.digits)}" for r in records(rows))
    caption = (
        f"Mean over {unit_of_mean(metric)}s with 95 % interval (hierarchical bootstrap over seeds "
        f"and cases). Ticks are means of single seeds."
    )
    return Plot("forest", picture, f"{metric.label} of each arm: {means_text}.", caption)


def strips(group: Group, metric: Metric, styles: dict[str, Style]) -> Plot:
    """Strip plot: one dot per case (or nodule) and arm, with lines joining the dots of a case."""
    means = seed_means(long_table(group, metric), metric)
    units = [key for key in ("case", "instance") if key in means]
    wide = means.pivot_table(index=units, columns="arm", values=metric.column)
    wide = wide.reindex(columns=list(group.contenders))
    with new_figure(WIDTH, 3.6) as figure:
        axes = figure.subplots()
        places = np.arange(wide.shape[1])
        for case in wide.to_numpy():
            axes.plot(places, case, color=MUTED, linewidth=0.6, alpha=0.45, zorder=1)
        for place, name in zip(places, wide.columns, strict=True):
            values, style = wide[name].dropna(), styles[name]
            axes.plot(
                np.full(len(values), place), values, style.marker, color=style.colour,
                markersize=4.5, alpha=0.75, markeredgewidth=0, zorder=2,
            )  # fmt: skip
            axes.plot([place - 0.22, place + 0.22], [values.mean()] * 2, color=INK, linewidth=2)
            axes.annotate(
                number(values.mean(), metric.digits), (place + 0.24, values.mean()), va="center",
                fontsize=8.5, fontweight="bold",
            )  # fmt: skip
        axes.set_xticks(places, [_wrapped(name) for name in wide.columns])
        if len(places) > 6:
            axes.tick_params(axis="x", rotation=40)
        axes.set_xlim(-0.5, len(places) - 0.3)
        axes.grid(visible=False, axis="x")
        if metric.full_scale:
            axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel(title(metric))
        picture = svg(figure)
    noun = unit_of_mean(metric)
    alt = f"{metric.label} of {counted(len(wide), noun)} in {listed(wide.columns)}, paired."
    return Plot(
        "strips",
        picture,
        alt,
        f"Dots are {noun}s (mean over seeds), lines join the same {noun}, and bars are means.",
    )


def trade_off(
    score: Metric,
    scores: pd.DataFrame,
    metric: Metric,
    healthy: pd.DataFrame,
    styles: dict[str, Style],
) -> Plot:
    """Scatter plot of arms: a score against false positives on healthy scans, with intervals.

    Args:
        score: The score.
        scores: Its rows of `comparison_table`.
        metric: False positives on healthy scans.
        healthy: Its rows of `comparison_table`.
        styles: Style of each arm.
    """
    pairs = list(zip(records(scores), records(healthy), strict=True))
    with new_figure(WIDTH, 4.2) as figure:
        axes = figure.subplots()
        symlog(axes.xaxis, axes.set_xscale)
        set_limits(axes.set_ylim, score, scores)
        axes.set_xlim(0, max(10.0, float(healthy[["mean", "high"]].max().max()) * 1.5))
        for d, f in pairs:
            style = styles[d["arm"]]
            cross: Any = {"color": style.colour, "linewidth": 1, "alpha": 0.55}
            axes.plot([f["low"], f["high"]], [d["mean"]] * 2, **cross)
            axes.plot([f["mean"]] * 2, [d["low"], d["high"]], **cross)
            axes.plot(
                f["mean"], d["mean"], style.marker, color=style.colour, markersize=8, zorder=3
            )
        axes.set_xlabel(f"{title(metric)}, logarithmic above 1")
        axes.set_ylabel(title(score))
        dots, names = [(f["mean"], d["mean"]) for d, f in pairs], [str(d["arm"]) for d, _ in pairs]
        figure.draw_without_rendering()  # settles the layout, which labels are placed in
        label_dots(axes, dots, names, styles)
        picture = svg(figure)
    points = "; ".join(
        f"{d['arm']} {score.label} {number(d['mean'], score.digits)} at {amount(metric, f['mean'])}"
        for d, f in pairs
    )
    alt = f"{score.label} against false positives on healthy scans: {points}."
    better = "upper" if score.more_is_better else "lower"
    caption = (
        f"Mean {score.label} over {unit_of_mean(score)}s against false positives on healthy scans; "
        f"the {better} left is better. Crosses are 95 % intervals."
    )
    return Plot("trade-off", picture, alt, caption)


def symlog(axis: Axis, set_scale: Callable[..., None]) -> None:
    """Set a scale that is linear up to 1, which includes zero, and logarithmic above."""
    set_scale("symlog", linthresh=1, linscale=0.5)
    axis.set_major_formatter(lambda value, _: f"{value:,g}")


def set_limits(apply: Callable[..., Any], metric: Metric, rows: pd.DataFrame) -> None:
    """Set limits from 0 to 1 for shares of which more is better, else to the widest interval."""
    top = 1.0 if metric.full_scale else float(rows[["mean", "high"]].max().max()) * 1.08
    bottom = 0.0 if metric.bounds[0] >= 0 else min(0.0, float(rows[["mean", "low"]].min().min()))
    apply(bottom, top if top > 0 else 1.0)


def bars(rows: pd.DataFrame, metric: str = "mean") -> np.ndarray:
    """Return `(2, N)` lengths of error bars below and above; 0 for undefined intervals."""
    lengths = np.stack([rows[metric] - rows["low"], rows["high"] - rows[metric]])
    return np.asarray(np.nan_to_num(lengths.astype(float)).clip(min=0))


def _wrapped(name: str) -> str:
    return name.replace(", ", ",\n").replace("+", "+\n")
