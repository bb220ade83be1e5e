"""Line plots: learning curves, and metrics against a swept setting."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes

from semilung.evaluation import Metric, Report
from semilung.report.formatting import listed, title
from semilung.report.label_placement import label_ends
from semilung.report.plot_style import Style, new_figure, svg
from semilung.report.plots import WIDTH, Plot, bars, set_limits, symlog
from semilung.report.study import Group
from semilung.tasks import CurveKind


def learning(group: Group, styles: dict[str, Style]) -> Plot | None:
    """Plot reference loss and validation score of each task over steps; None if none was logged."""
    panels = [(label, top, curves) for label, top, name in _panels(group)
              if (curves := _curve(group, name))]  # fmt: skip
    if not panels:
        return None
    with new_figure(WIDTH, 2.7 * len(panels)) as figure:
        panel_axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (label, top, curves) in zip(panel_axes, panels, strict=True):
            _draw_curves(axes, curves, styles)
            axes.set_ylabel(label)
            axes.set_ylim(0, top)
        panel_axes[0].set_xlim(0, None)
        panel_axes[-1].set_xlabel("step")
        for axes, (*_, curves) in zip(panel_axes, panels, strict=True):
            means = {name: runs.mean(axis=1).dropna() for name, runs in curves.items()}
            ends = {n: (float(m.index[-1]), float(m.iloc[-1])) for n, m in means.items()}
            label_ends(axes, ends, styles)
        picture = svg(figure)
    labels = listed(label for label, *_ in panels)
    alt = f"Learning curves: {labels} over training steps of {listed(group.contenders)}."
    caption = (
        "Thick lines are means over runs, thin lines single runs. The loss is the base strategy's "
        "on labelled crops, which all arms have in common."
    )
    return Plot("learning", picture, alt, caption)


def of_kind(group: Group, kind: CurveKind, styles: dict[str, Style]) -> Plot | None:
    """Plot a curve of a task for each contender, with its band; None if no run has its rows."""
    lines = {
        name: kind.line([Report(run.cases, run.lesions, findings=run.findings) for run in runs])
        for name, runs in group.contenders.items()
        if all(len(run.findings.columns) and len(run.lesions.columns) for run in runs)
    }
    if not lines:
        return None
    with new_figure(WIDTH, 4.0) as figure:
        axes = figure.subplots()
        for name, line in lines.items():
            style = styles[name]
            axes.fill_between(
                line.x, line.low, line.high, color=style.colour, alpha=0.13, linewidth=0
            )
            axes.plot(
                line.x, line.y, color=style.colour, linestyle=style.dashes, linewidth=1.8,
                marker=style.marker, markersize=5, markevery=10, label=name,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(kind.x_ticks, [f"{tick:g}" for tick in kind.x_ticks])
        axes.minorticks_off()
        axes.set_xlim(kind.x_ticks[0], kind.x_ticks[-1])
        axes.set_ylim(-0.03, 1.03)
        axes.set(xlabel=kind.x_label, ylabel=kind.y_label)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, handletextpad=0.3)
        picture = svg(figure)
    alt = f"{kind.title} of {listed(lines)}, with 95 % bands."
    return Plot(kind.name, picture, alt, kind.caption)


def _panels(group: Group) -> Iterator[tuple[str, float | None, str]]:
    """Yield label, top of the axis and logged name of each curve."""
    tasks = group.runs[0].tasks
    for name, task in tasks.items():
        prefix = f"{name}, " if len(tasks) > 1 else ""
        yield f"{prefix}{task.term} loss", None, f"terms/{task.reference_term}"
        top = 1.0 if task.score.full_scale else None
        yield f"validation {task.score.label}", top, task.score.validation_name


def _curve(group: Group, name: str) -> dict[str, pd.DataFrame]:
    """Return contender to a table of steps by runs; contenders without the curve are omitted."""
    tables = {}
    for contender, runs in group.contenders.items():
        curves = [r.curves[r.curves["name"] == name].dropna(subset="value") for r in runs]
        columns = [c.drop_duplicates("step").set_index("step")["value"] for c in curves if len(c)]
        if columns:
            tables[contender] = pd.concat(columns, axis=1).sort_index()
    return tables


def _draw_curves(axes: Axes, curves: dict[str, pd.DataFrame], styles: dict[str, Style]) -> None:
    for name, runs in curves.items():
        style, mean = styles[name], runs.mean(axis=1)
        smooth = 5 if len(mean) > 30 else 1
        if runs.shape[1] > 1:
            lines = runs.rolling(smooth, min_periods=1).mean()
            axes.plot(lines.index, lines, color=style.colour, linewidth=0.6, alpha=0.35)
        axes.plot(
            mean.index, mean.rolling(smooth, min_periods=1).mean(), color=style.colour,
            linestyle=style.dashes, linewidth=1.8, marker=style.marker, markersize=5,
            markevery=max(1, len(mean) // 6),
        )  # fmt: skip


def along(axis: str, rows: dict[Metric, pd.DataFrame], styles: dict[str, Style]) -> Plot:
    """Plot metrics against a swept count, such as the label budget.

    Args:
        axis: Swept setting.
        rows: Metric to the rows of its comparison, with the columns `line` and `axis`.
        styles: Style of each line.
    """
    with new_figure(WIDTH, 3.2 * len(rows)) as figure:
        panel_axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axes, (metric, table) in zip(panel_axes, rows.items(), strict=True):
            ends = {}
            levels = sorted(table[axis].unique())
            for shift, (line, points) in enumerate(table.groupby("line", sort=False)):
                points, style = points.sort_values(axis), styles[str(line)]
                at = [levels.index(v) + 0.04 * (shift - len(styles) / 2) for v in points[axis]]
                axes.errorbar(
                    at, points["mean"], bars(points), color=style.colour, marker=style.marker,
                    linestyle=style.dashes, linewidth=1.6, elinewidth=1, markersize=5.5,
                )  # fmt: skip
                ends[str(line)] = (at[-1], float(points["mean"].iloc[-1]))
            axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
            axes.set_xlim(-0.3, len(levels) - 0.7)
            axes.set_xlabel(axis)
            axes.set_ylabel(title(metric).replace(" (", "\n("))
            if metric.healthy:
                symlog(axes.yaxis, axes.set_yscale)
            set_limits(axes.set_ylim, metric, table)
            label_ends(axes, ends, styles)
        picture = svg(figure)
    labels = listed(metric.label for metric in rows)
    alt = f"{labels} against {axis}, one line per arm, with 95 % intervals."
    caption = "Error bars are 95 % intervals. The horizontal axis is not to scale."
    if any(metric.healthy for metric in rows):
        caption += " The scale of false positives is logarithmic above 1."
    return Plot(f"along-{axis}", picture, alt, caption)
