"""Plots of a study of nodules' features: AUC by size, ROC, calibration and decision curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from sklearn.metrics import roc_curve

from semilung.characterization import TREAT_ALL, TREAT_NONE, OutOfFold
from semilung.report.characterization_tables import bin_name
from semilung.report.formatting import listed, number
from semilung.report.plot_style import MUTED, Style, new_figure, svg
from semilung.report.plots import WIDTH, Plot

Styles = dict[str, Style]
GRID = np.linspace(0, 1, 201)


def auc_by_size(metrics: pd.DataFrame, styles: Styles) -> Plot:
    """Dots and intervals of the AUC of each arm, in a group for each bin of diameters."""
    rows = metrics[(metrics["population"] != "external") & metrics["auc"].notna()]
    groups = [*rows["population"].unique()]
    step = 0.8 / len(styles)
    with new_figure(WIDTH, 0.9 + 0.24 * len(styles) * len(groups)) as figure:
        axes = figure.subplots()
        for shift, (arm, style) in enumerate(styles.items()):
            of_arm = rows[rows["arm"] == arm]
            at = [groups.index(name) - 0.4 + (shift + 0.5) * step for name in of_arm["population"]]
            bars = [of_arm["auc"] - of_arm["low"], of_arm["high"] - of_arm["auc"]]
            axes.errorbar(
                of_arm["auc"], at, xerr=np.nan_to_num(np.array(bars)).clip(0),
                color=style.colour, marker=style.marker, linestyle="none", markersize=5.5,
                elinewidth=1.2, label=arm,
            )  # fmt: skip
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(groups)), [bin_name(name) for name in groups])
        axes.set_ylim(len(groups) - 0.45, -0.55)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(min(0.4, float(rows[["auc", "low"]].min().min()) - 0.03), 1.01)
        axes.set_xlabel("AUC")
        figure.legend(loc="outside upper left", ncols=3, frameon=False, handletextpad=0.3)
        picture = svg(figure)
    values = listed(
        f"{row['arm']} in {bin_name(row['population'])} {number(row['auc'])}"
        for row in rows.to_dict("records")
    )
    return Plot(
        "auc-by-size",
        picture,
        f"AUC: {values}.",
        "AUC of each arm, overall and by diameter, with 95 % intervals of a bootstrap of patients. "
        "The dashed line is chance. Without an interval a class has fewer than two patients.",
    )


def roc(results: OutOfFold, styles: Styles) -> Plot:
    """ROC curves, averaged over repeats at each share of false positives."""
    labels = results.positive
    with new_figure(WIDTH, 4.6) as figure:
        axes = figure.subplots()
        for arm, scores in results.scores.items():
            curves = [roc_curve(labels, row)[:2] for row in scores]
            mean = np.mean([np.interp(GRID, x, y) for x, y in curves], axis=0)
            style = styles[arm]
            axes.plot(np.r_[0, GRID], np.r_[0, mean], color=style.colour, linestyle=style.dashes,
                      linewidth=1.8, label=arm)  # fmt: skip
        _draw_diagonal(axes)
        axes.set_aspect("equal")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity")
        axes.legend(loc="lower right", frameon=False)
        picture = svg(figure)
    return Plot(
        "roc",
        picture,
        f"ROC curves of {listed(styles)}.",
        "ROC curves of the out-of-fold probabilities, sensitivities averaged over repeats.",
    )


def calibration(rows: pd.DataFrame, styles: Styles) -> Plot:
    """Share of positive nodules against the predicted probability, with the number of nodules."""
    with new_figure(WIDTH, 5.4) as figure:
        axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        for shift, (arm, style) in enumerate(styles.items()):
            bins = rows[rows["arm"] == arm]
            axes.plot(bins["mean_score"], bins["share_positive"], color=style.colour,
                      marker=style.marker, linestyle=style.dashes, linewidth=1.5, markersize=5,
                      label=arm)  # fmt: skip
            width = 0.08 / len(styles)
            middle = (bins["low"] + bins["high"]) / 2 - 0.04 + (shift + 0.5) * width
            counts.bar(middle, bins["n"], width=width, color=style.colour)
        _draw_diagonal(axes)
        axes.set_ylabel("share of positive nodules")
        axes.legend(loc="upper left", frameon=False)
        counts.set(xlabel="predicted probability", ylabel="nodules")
        picture = svg(figure)
    return Plot(
        "calibration",
        picture,
        f"Calibration curves of {listed(styles)}.",
        "Nodules in ten bins of their out-of-fold probability: observed share of positives against "
        "the mean probability, and below the number of nodules (mean over repeats), as a bin of "
        "few nodules says little. On the dashed line, probabilities are what they say.",
    )


def decision(rows: pd.DataFrame, styles: Styles) -> Plot:
    """Net benefit against the threshold, next to treating all nodules and none."""
    references = {TREAT_ALL: (0, (4, 3)), TREAT_NONE: "-"}
    with new_figure(WIDTH, 3.8) as figure:
        axes = figure.subplots()
        for name, dashes in references.items():
            curve = rows[rows["arm"] == name]
            axes.plot(curve["threshold"], curve["net_benefit"], color=MUTED, linewidth=1,
                      linestyle=dashes, label=name)  # fmt: skip
        for arm, style in styles.items():
            curve = rows[rows["arm"] == arm]
            axes.plot(curve["threshold"], curve["net_benefit"], color=style.colour,
                      linestyle=style.dashes, linewidth=1.8, label=arm)  # fmt: skip
        top = float(rows.loc[rows["arm"].isin(styles), "net_benefit"].max())
        axes.set(xlim=(0, 1), ylim=(-0.15 * top - 0.01, 1.1 * top + 0.01))
        axes.set(xlabel="threshold probability", ylabel="net benefit")
        axes.legend(loc="upper right", frameon=False)
        picture = svg(figure)
    return Plot(
        "decision",
        picture,
        f"Decision curves of {listed(styles)}, of treating all and of treating none.",
        "Decision curve (Vickers and Elkin, 2006): true positives less false positives, weighed by "
        "the odds of the threshold, a nodule. An arm is of use at a threshold where it is above "
        "both treating all and treating none. The share of positives is the study's, not that of "
        "a screening.",
    )


def _draw_diagonal(axes: Axes) -> None:
    """Draw the diagonal of a plot of two shares."""
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
