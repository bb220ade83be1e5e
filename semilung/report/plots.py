"""Every plot of a report: what it shows, drawn with its intervals, and said in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axis import Axis

from semilung.evaluation import DETECTION_IOU
from semilung.report.compared_metrics import FIGURES, Figure, long_table, records, seed_means
from semilung.report.formatting import counted, listed, number, size
from semilung.report.label_placement import label_dots
from semilung.report.plot_style import INK, MUTED, Look, canvas, svg
from semilung.report.study import Group

WIDTH = 7.6


class Plot(NamedTuple):
    """A drawn plot: SVG text, what a reader who cannot see it needs, and what to look for."""

    name: str
    svg: str
    alt: str
    caption: str


def forest(
    group: Group,
    figure: Figure,
    rows: pd.DataFrame,
    seen: dict[str, Look],
    ball: float = math.nan,
) -> Plot:
    """A line an arm: mean, its interval, and the mean of each seed above it."""
    means = long_table(group, figure).groupby(["arm", "seed"])[figure.column].mean()
    names = list(rows["arm"])
    with canvas(WIDTH, 0.8 + 0.42 * len(names)) as drawn:
        axes = drawn.subplots()
        for y, row in enumerate(records(rows)):
            look = seen[row["arm"]]
            axes.plot([row["low"], row["high"]], [y, y], color=look.colour, linewidth=2.2)
            axes.plot(row["mean"], y, look.marker, color=look.colour, markersize=7, zorder=3)
            seeds = means.loc[row["arm"]]
            axes.plot(seeds, [y - 0.3] * len(seeds), "|", color=look.colour, markersize=6)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.7)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        set_limits(axes.set_xlim, figure, rows)
        axes.set_xlabel(f"{figure.title}, mean and 95 % interval")
        if not math.isnan(ball):
            axes.axvline(ball, color=MUTED, linestyle=(0, (2, 2)), linewidth=1.2)
            axes.annotate(
                "content-blind ball", (ball, -0.7), (3, 1), textcoords="offset points",
                color=MUTED, va="bottom", fontsize=8,
            )  # fmt: skip
        picture = svg(drawn)
    told = "; ".join(f"{r['arm']} {number(r['mean'], figure.digits)}" for r in records(rows))
    caption = (
        "Mean over cases with its hierarchical bootstrap interval over seeds and cases; a tick is "
        "a seed."
    )
    return Plot("forest", picture, f"{figure.label} of each arm: {told}.", caption)


def strips(group: Group, figure: Figure, seen: dict[str, Look]) -> Plot:
    """A dot a case in each arm, the same case joined by a line."""
    means = seed_means(long_table(group, figure), figure)
    wide = means.pivot_table(index="case", columns="arm", values=figure.column)
    wide = wide.reindex(columns=list(group.contenders))
    with canvas(WIDTH, 3.6) as drawn:
        axes = drawn.subplots()
        places = np.arange(wide.shape[1])
        for case in wide.to_numpy():
            axes.plot(places, case, color=MUTED, linewidth=0.6, alpha=0.45, zorder=1)
        for place, name in zip(places, wide.columns, strict=True):
            values, look = wide[name].dropna(), seen[name]
            axes.plot(
                np.full(len(values), place), values, look.marker, color=look.colour,
                markersize=4.5, alpha=0.75, markeredgewidth=0, zorder=2,
            )  # fmt: skip
            axes.plot([place - 0.22, place + 0.22], [values.mean()] * 2, color=INK, linewidth=2)
            axes.annotate(
                number(values.mean(), figure.digits), (place + 0.24, values.mean()), va="center",
                fontsize=8.5, fontweight="bold",
            )  # fmt: skip
        axes.set_xticks(places, [_wrapped(name) for name in wide.columns])
        if len(places) > 6:
            axes.tick_params(axis="x", rotation=40)
        axes.set_xlim(-0.5, len(places) - 0.3)
        axes.grid(visible=False, axis="x")
        if figure.more_is_better:
            axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel(figure.title)
        picture = svg(drawn)
    alt = f"{figure.label} of {counted(len(wide), 'case')} in {listed(wide.columns)}, paired."
    return Plot(
        "strips",
        picture,
        alt,
        "A dot is a case (mean over seeds), a line joins the same case, a bar is the mean.",
    )


def trade_off(dice: pd.DataFrame, alarms: pd.DataFrame, seen: dict[str, Look]) -> Plot:
    """A dot an arm: false-positive volume on healthy scans, and Dice; both intervals as a cross."""
    figure = FIGURES["healthy_fp_mm3"]
    pairs = list(zip(records(dice), records(alarms), strict=True))
    with canvas(WIDTH, 4.2) as drawn:
        axes = drawn.subplots()
        symlog(axes.xaxis, axes.set_xscale)
        axes.set_ylim(0, 1)
        axes.set_xlim(0, max(10.0, float(alarms[["mean", "high"]].max().max()) * 1.5))
        for d, f in pairs:
            look = seen[d["arm"]]
            cross: Any = {"color": look.colour, "linewidth": 1, "alpha": 0.55}
            axes.plot([f["low"], f["high"]], [d["mean"]] * 2, **cross)
            axes.plot([f["mean"]] * 2, [d["low"], d["high"]], **cross)
            axes.plot(f["mean"], d["mean"], look.marker, color=look.colour, markersize=8, zorder=3)
        axes.set_xlabel(f"{figure.title}, logarithmic beyond 1")
        axes.set_ylabel("Dice")
        dots, names = [(f["mean"], d["mean"]) for d, f in pairs], [str(d["arm"]) for d, _ in pairs]
        drawn.draw_without_rendering()  # settles the layout, which labels are placed in
        label_dots(axes, dots, names, seen)
        picture = svg(drawn)
    told = "; ".join(
        f"{d['arm']} Dice {number(d['mean'])} at {number(f['mean'], 1)} mm³" for d, f in pairs
    )
    alt = f"Dice against false positives on healthy scans: {told}."
    caption = (
        "Up is more overlap, left is more silence on healthy scans; crosses are 95 % intervals."
    )
    return Plot("trade-off", picture, alt, caption)


def sizes(rows: pd.DataFrame, seen: dict[str, Look]) -> Plot:
    """Share of lesions found in each bin of diameter, arms side by side, with intervals."""
    rows = rows[rows["n_lesions"] > 0]
    bins, names = (list(dict.fromkeys(rows[column])) for column in ("size", "arm"))
    with canvas(WIDTH, 3.3) as drawn:
        axes = drawn.subplots()
        step = min(0.14, 0.8 / len(names))
        for i, name in enumerate(names):
            own, look = rows[rows["arm"] == name], seen[name]
            at = [bins.index(b) + step * (i - (len(names) - 1) / 2) for b in own["size"]]
            axes.errorbar(
                at, own["sensitivity"], bars(own, "sensitivity"), color=look.colour,
                marker=look.marker, linestyle="none", elinewidth=1.2, markersize=6.5, label=name,
            )  # fmt: skip
        counts = rows.drop_duplicates("size").set_index("size")["n_lesions"]
        ticks = [f"{size(b)}\n{counted(int(counts[b]), 'lesion')}" for b in bins]
        axes.set_xticks(range(len(bins)), ticks)
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_ylim(-0.03, 1.03)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("share of lesions found")
        drawn.legend(loc="outside upper left", ncols=3, frameon=False, handletextpad=0.3)
        picture = svg(drawn)
    alt = f"Share of lesions found by size: {listed(map(size, bins))}, for {listed(names)}."
    caption = (
        f"Found: the components that touch a lesion reach an intersection over union of "
        f"{DETECTION_IOU:g} with it. Bars are 95 % intervals."
    )
    return Plot("sizes", picture, alt, caption)


def symlog(axis: Axis, set_scale: Callable[..., None]) -> None:
    """Linear to 1, logarithmic beyond: zero false positives must have a place."""
    set_scale("symlog", linthresh=1, linscale=0.5)
    axis.set_major_formatter(lambda value, _: f"{value:,g}")


def set_limits(apply: Callable[..., Any], figure: Figure, rows: pd.DataFrame) -> None:
    """From zero; to one where the figure has that ceiling, else to the highest interval."""
    top = 1.0 if figure.more_is_better else float(rows[["mean", "high"]].max().max()) * 1.08
    apply(0, top if top > 0 else 1.0)


def bars(rows: pd.DataFrame, figure: str = "mean") -> np.ndarray:
    """Lengths below and above; undefined intervals have none."""
    lengths = np.stack([rows[figure] - rows["low"], rows["high"] - rows[figure]])
    return np.asarray(np.nan_to_num(lengths.astype(float)).clip(min=0))


def _wrapped(name: str) -> str:
    return name.replace(", ", ",\n").replace("+", "+\n")
