"""Every plot of a report: what it shows, drawn with its intervals, and said in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.patheffects import withStroke

from semilung.evaluation import DETECTION_IOU
from semilung.report.figures import FIGURES, Figure, long_table, seed_means
from semilung.report.study import Group
from semilung.report.style import INK, MUTED, Look, canvas, label_ends, place_labels, svg
from semilung.report.text import counted, listed, number, size

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
        for y, row in enumerate(rows.to_dict("records")):
            look = seen[row["arm"]]
            axes.plot([row["low"], row["high"]], [y, y], color=look.colour, linewidth=2.2)
            axes.plot(row["mean"], y, look.marker, color=look.colour, markersize=7, zorder=3)
            seeds = means.loc[row["arm"]]
            axes.plot(seeds, [y - 0.3] * len(seeds), "|", color=look.colour, markersize=6)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.7)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        _limits(axes.set_xlim, figure, rows)
        axes.set_xlabel(f"{figure.title}, mean and 95 % interval")
        if not math.isnan(ball):
            axes.axvline(ball, color=MUTED, linestyle=(0, (2, 2)), linewidth=1.2)
            axes.annotate(
                "content-blind ball", (ball, -0.7), (3, 1), textcoords="offset points",
                color=MUTED, va="bottom", fontsize=8,
            )  # fmt: skip
        picture = svg(drawn)
    told = "; ".join(f"{r.arm} {number(r.mean, figure.digits)}" for r in rows.itertuples())
    caption = "Mean over cases with its hierarchical bootstrap interval over seeds and cases; a tick is a seed."
    return Plot("forest", picture, f"{figure.label} of each arm: {told}.", caption)


def strips(group: Group, figure: Figure, seen: dict[str, Look]) -> Plot:
    """A dot a case in each arm, the same case joined by a line."""
    means = seed_means(long_table(group, figure), figure)
    wide = means.pivot_table(index="case", columns="arm", values=figure.column)
    wide = wide.reindex(columns=list(group.contenders))
    with canvas(WIDTH, 3.6) as drawn:
        axes = drawn.subplots()
        places = np.arange(wide.shape[1])
        for values in wide.to_numpy():
            axes.plot(places, values, color=MUTED, linewidth=0.6, alpha=0.45, zorder=1)
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


def learning(group: Group, seen: dict[str, Look]) -> Plot | None:
    """Labelled loss and validation Dice over steps; None where nothing was logged."""
    panels = [
        ("labelled loss", _curve(group, ("terms/supervised/labelled", "loss"))),
        ("validation Dice", _curve(group, ("val/dice",))),
    ]
    panels = [(label, curves) for label, curves in panels if curves]
    if not panels:
        return None
    with canvas(WIDTH, 2.7 * len(panels)) as drawn:
        every = drawn.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (label, curves) in zip(every, panels, strict=True):
            _draw_curves(axes, curves, seen)
            axes.set_ylabel(label)
            axes.set_ylim(0, 1 if label == "validation Dice" else None)
        every[0].set_xlim(0, None)
        every[-1].set_xlabel("step")
        for axes, (_, curves) in zip(every, panels, strict=True):
            means = {name: runs.mean(axis=1).dropna() for name, runs in curves.items()}
            ends = {n: (float(m.index[-1]), float(m.iloc[-1])) for n, m in means.items()}
            label_ends(axes, ends, seen)
        picture = svg(drawn)
    alt = f"Over the steps of training: {listed(label for label, _ in panels)} of {listed(group.contenders)}."
    return Plot(
        "learning",
        picture,
        alt,
        "Thick: mean over runs. Thin: each run. The loss is that of labelled crops, which all arms share.",
    )


def _curve(group: Group, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Contender to a table of steps by runs, of the first of the names that all have."""
    for name in names:
        found = {}
        for contender, runs in group.contenders.items():
            own = [r.curves[r.curves["name"] == name].dropna(subset="value") for r in runs]
            columns = [c.drop_duplicates("step").set_index("step")["value"] for c in own if len(c)]
            if columns:
                found[contender] = pd.concat(columns, axis=1).sort_index()
        if found:
            return found
    return {}


def _draw_curves(axes: Axes, curves: dict[str, pd.DataFrame], seen: dict[str, Look]) -> None:
    for name, runs in curves.items():
        look, mean = seen[name], runs.mean(axis=1)
        smooth = 5 if len(mean) > 30 else 1
        if runs.shape[1] > 1:
            lines = runs.rolling(smooth, min_periods=1).mean()
            axes.plot(lines.index, lines, color=look.colour, linewidth=0.6, alpha=0.35)
        axes.plot(
            mean.index, mean.rolling(smooth, min_periods=1).mean(), color=look.colour,
            linestyle=look.dashes, linewidth=1.8, marker=look.marker, markersize=5,
            markevery=max(1, len(mean) // 6),
        )  # fmt: skip


def along(axis: str, rows: dict[str, pd.DataFrame], seen: dict[str, Look]) -> Plot:
    """Figures against a swept count, such as the label budget.

    Args:
        axis: The swept key.
        rows: Figure name to the rows of its comparison with the columns `line` and `axis`.
        seen: Look of each line.
    """
    with canvas(WIDTH, 3.2 * len(rows)) as drawn:
        every = drawn.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axes, (name, found) in zip(every, rows.items(), strict=True):
            ends = {}
            levels = sorted(found[axis].unique())
            for shift, (line, own) in enumerate(found.groupby("line", sort=False)):
                own, look = own.sort_values(axis), seen[str(line)]
                at = [levels.index(v) + 0.04 * (shift - len(seen) / 2) for v in own[axis]]
                axes.errorbar(
                    at, own["mean"], _bars(own), color=look.colour, marker=look.marker,
                    linestyle=look.dashes, linewidth=1.6, elinewidth=1, markersize=5.5,
                )  # fmt: skip
                ends[str(line)] = (at[-1], float(own["mean"].iloc[-1]))
            axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
            axes.set_xlim(-0.3, len(levels) - 0.7)
            axes.set_xlabel(axis)
            figure = FIGURES[name]
            axes.set_ylabel(figure.title.replace(" (", "\n("))
            if figure.healthy:
                _symlog(axes.yaxis)
            _limits(axes.set_ylim, figure, found)
            label_ends(axes, ends, seen)
        picture = svg(drawn)
    told = listed(FIGURES[name].label for name in rows)
    alt = f"{told} against {axis}, a line an arm, with 95 % intervals."
    caption = "Bars are 95 % intervals. Values of the axis are drawn equally far apart."
    if "healthy_fp_mm3" in rows:
        caption += " False positives are logarithmic beyond 1 mm³."
    return Plot(f"along-{axis}", picture, alt, caption)


def _symlog(axis: Axis) -> None:
    """Linear to 1, logarithmic beyond: zero false positives must have a place."""
    set_scale = {"x": axis.axes.set_xscale, "y": axis.axes.set_yscale}[axis.axis_name]
    set_scale("symlog", linthresh=1, linscale=0.5)
    axis.set_major_formatter(lambda value, _: f"{value:,g}")


def trade_off(dice: pd.DataFrame, alarms: pd.DataFrame, seen: dict[str, Look]) -> Plot:
    """A dot an arm: false-positive volume on healthy scans, and Dice; both intervals as a cross."""
    figure = FIGURES["healthy_fp_mm3"]
    pairs = list(zip(dice.to_dict("records"), alarms.to_dict("records"), strict=True))
    with canvas(WIDTH, 4.2) as drawn:
        axes = drawn.subplots()
        _symlog(axes.xaxis)
        axes.set_ylim(0, 1)
        axes.set_xlim(0, max(10.0, float(alarms[["mean", "high"]].max().max()) * 1.5))
        for d, f in pairs:
            look = seen[d["arm"]]
            cross = {"color": look.colour, "linewidth": 1, "alpha": 0.55}
            axes.plot([f["low"], f["high"]], [d["mean"]] * 2, **cross)
            axes.plot([f["mean"]] * 2, [d["low"], d["high"]], **cross)
            axes.plot(f["mean"], d["mean"], look.marker, color=look.colour, markersize=8, zorder=3)
        axes.set_xlabel(f"{figure.title}, logarithmic beyond 1")
        axes.set_ylabel("Dice")
        drawn.draw_without_rendering()  # settles the layout, which labels are placed in
        _label_dots(axes, pairs, seen)
        picture = svg(drawn)
    told = "; ".join(
        f"{d['arm']} Dice {number(d['mean'])} at {number(f['mean'], 1)} mm³" for d, f in pairs
    )
    alt = f"Dice against false positives on healthy scans: {told}."
    caption = (
        "Up is more overlap, left is more silence on healthy scans; crosses are 95 % intervals."
    )
    return Plot("trade-off", picture, alt, caption)


def _label_dots(axes: Axes, pairs: Sequence[tuple[Any, Any]], seen: dict[str, Look]) -> None:
    """Names near their dots, tied to them where the neighbourhood is crowded."""
    points = 72 / cast(Canvas, axes.get_figure()).dpi
    dots = axes.transData.transform([(f["mean"], d["mean"]) for d, f in pairs]) * points
    names = [str(d["arm"]) for d, _ in pairs]
    left, bottom, right, top = (axes.bbox.extents * points).tolist()
    sizes = [(5.3 * len(name) + 2, 11.0) for name in names]
    places = place_labels([(x, y) for x, y in dots.tolist()], sizes, (left, bottom, right, top))
    for (d, f), name, (x, y), (at_x, at_y) in zip(pairs, names, dots, places, strict=True):
        side = ((at_x < x) * 1.0, 0.5) if abs(at_x - x) > 1 else (0.5, (at_y < y) * 1.0)
        tie = {"arrowstyle": "-", "color": seen[d["arm"]].colour, "linewidth": 0.8}
        axes.annotate(
            name, (f["mean"], d["mean"]), (at_x - x, at_y - y), textcoords="offset points",
            va="center", ha="center", path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops=tie | {"relpos": side, "shrinkA": 0, "shrinkB": 4},
        )  # fmt: skip


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
                at, own["sensitivity"], _bars(own, "sensitivity"), color=look.colour,
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


def _limits(set_limits: Any, figure: Figure, rows: pd.DataFrame) -> None:
    """From zero; to one where the figure has that ceiling, else to the highest interval."""
    top = 1.0 if figure.more_is_better else float(rows[["mean", "high"]].max().max()) * 1.08
    set_limits(0, top if top > 0 else 1.0)


def _bars(rows: pd.DataFrame, figure: str = "mean") -> np.ndarray:
    """Lengths below and above; undefined intervals have none."""
    bars = np.stack([rows[figure] - rows["low"], rows["high"] - rows[figure]]).astype(float)
    return np.nan_to_num(bars).clip(min=0)


def _wrapped(name: str) -> str:
    return name.replace(", ", ",\n").replace("+", "+\n")
