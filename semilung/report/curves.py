"""Plots of lines: over the steps of training, and along a swept setting."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from semilung.report.compared_metrics import FIGURES
from semilung.report.formatting import listed
from semilung.report.label_placement import label_ends
from semilung.report.plot_style import Look, canvas, svg
from semilung.report.plots import WIDTH, Plot, bars, set_limits, symlog
from semilung.report.study import Group


def learning(group: Group, seen: dict[str, Look]) -> Plot | None:
    """Labelled loss and validation Dice over steps; None where nothing was logged."""
    panels = [
        ("labelled loss", _curve(group, "terms/supervised/labelled")),
        ("validation Dice", _curve(group, "val/dice")),
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
    shown = listed(label for label, _ in panels)
    alt = f"Over the steps of training: {shown} of {listed(group.contenders)}."
    caption = (
        "Thick: mean over runs. Thin: each run. The loss is that of labelled crops, which all arms "
        "share."
    )
    return Plot("learning", picture, alt, caption)


def _curve(group: Group, name: str) -> dict[str, pd.DataFrame]:
    """Contender to a table of steps by runs, where any of its runs has logged the figure."""
    found = {}
    for contender, runs in group.contenders.items():
        own = [r.curves[r.curves["name"] == name].dropna(subset="value") for r in runs]
        columns = [c.drop_duplicates("step").set_index("step")["value"] for c in own if len(c)]
        if columns:
            found[contender] = pd.concat(columns, axis=1).sort_index()
    return found


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
                    at, own["mean"], bars(own), color=look.colour, marker=look.marker,
                    linestyle=look.dashes, linewidth=1.6, elinewidth=1, markersize=5.5,
                )  # fmt: skip
                ends[str(line)] = (at[-1], float(own["mean"].iloc[-1]))
            axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
            axes.set_xlim(-0.3, len(levels) - 0.7)
            axes.set_xlabel(axis)
            figure = FIGURES[name]
            axes.set_ylabel(figure.title.replace(" (", "\n("))
            if figure.healthy:
                symlog(axes.yaxis, axes.set_yscale)
            set_limits(axes.set_ylim, figure, found)
            label_ends(axes, ends, seen)
        picture = svg(drawn)
    told = listed(FIGURES[name].label for name in rows)
    alt = f"{told} against {axis}, a line an arm, with 95 % intervals."
    caption = "Bars are 95 % intervals. Values of the axis are drawn equally far apart."
    if "healthy_fp_mm3" in rows:
        caption += " False positives are logarithmic beyond 1 mm³."
    return Plot(f"along-{axis}", picture, alt, caption)
