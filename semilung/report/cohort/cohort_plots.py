"""Plots of a cohort: intensities, voxel sizes, lungs and nodules, one colour a cohort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from semilung.data.manifest.manifest_summary import SIZES_MM
from semilung.report.cohort.scan_survey import HU_EDGES, ScanSurvey
from semilung.report.formatting import counted, listed, number
from semilung.report.plot_style import INK, MUTED, Style, assign_styles, new_figure, svg
from semilung.report.plots import WIDTH, Plot

MOST_COHORTS = 6
OTHERS = "other cohorts"


def cohort_name(survey: ScanSurvey) -> str:
    """Return the cohort of a scan as the manifest names it, else by its role."""
    if survey.case.cohort:
        return survey.case.cohort
    return "healthy" if survey.case.role == "healthy" else "not healthy"


def by_cohort(surveys: Sequence[ScanSurvey]) -> dict[str, list[ScanSurvey]]:
    """Return the surveys of each cohort, the largest first, small ones together as `OTHERS`."""
    counts = Counter(map(cohort_name, surveys)).most_common()
    names = [name for name, _ in counts[: MOST_COHORTS - (len(counts) > MOST_COHORTS)]]
    groups: dict[str, list[ScanSurvey]] = {name: [] for name in names}
    for survey in surveys:
        name = cohort_name(survey)
        groups.setdefault(name if name in names else OTHERS, []).append(survey)
    return groups


def cohort_styles(surveys: Sequence[ScanSurvey]) -> dict[str, Style]:
    """Return a style for each group of `by_cohort`; none is a reference, so none is black."""
    styles = assign_styles(["", *by_cohort(surveys)], "")
    del styles[""]
    return styles


def histograms(surveys: Sequence[ScanSurvey], styles: dict[str, Style]) -> Plot | None:
    """Histograms of HU, of whole scans and of lungs: median and spread of each cohort's scans."""
    panels: list[tuple[str, Callable[[ScanSurvey], np.ndarray | None]]] = [
        ("whole scan", lambda survey: survey.shares),
        ("lungs", lambda survey: None if survey.lungs is None else survey.lungs.shares),
    ]
    panels = [panel for panel in panels if any(panel[1](survey) is not None for survey in surveys)]
    if not panels:
        return None
    middles = (HU_EDGES[:-1] + HU_EDGES[1:]) / 2
    with new_figure(WIDTH, 2.5 * len(panels) + 0.3) as figure:
        column = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, shares_of) in zip(column, panels, strict=True):
            for cohort, members in by_cohort(surveys).items():
                shares = [shares_of(survey) for survey in members]
                measured = np.array([share for share in shares if share is not None])
                if len(measured):
                    low, middle, high = 100 * np.quantile(measured, (0.1, 0.5, 0.9), axis=0)
                    style = styles[cohort]
                    axes.fill_between(middles, low, high, color=style.colour, alpha=0.15, lw=0)
                    axes.plot(middles, middle, color=style.colour, linestyle=style.dashes,
                              linewidth=1.6, label=f"{cohort} ({len(measured)})")  # fmt: skip
            axes.set_title(name)
            axes.set_ylabel("% of voxels\nin 20 HU")
            axes.set_ylim(0, None)
            axes.legend(frameon=False, loc="upper right")
        column[-1].set_xlabel("HU")
        column[-1].set_xlim(HU_EDGES[0], HU_EDGES[-1])
        picture = svg(figure)
    return Plot(
        "histograms",
        picture,
        f"Histograms of HU of {listed(styles)}: {listed(name for name, _ in panels)}.",
        f"Lines are medians over a cohort's scans and bands hold 80 % of them. Lung peaks near "
        f"{number(-850, 0)} HU, fat near {number(-100, 0)}, muscle and blood near 50. Curves of "
        f"two cohorts that lie apart within the lungs mean another scanner, kernel, inspiration "
        f"or contrast agent.",
    )


def dots(
    name: str,
    groups: dict[str, list[float]],
    styles: dict[str, Style],
    *,
    label: str,
    caption: str,
) -> Plot | None:
    """One dot a value, in a row for each cohort, a bar at the median; None if all are equal."""
    groups = {cohort: values for cohort, values in groups.items() if values}
    if len({f"{value:.4g}" for values in groups.values() for value in values}) < 2:
        return None
    rng = np.random.default_rng(0)
    with new_figure(WIDTH, 0.9 + 0.5 * len(groups)) as figure:
        axes = figure.subplots()
        for row, (cohort, values) in enumerate(groups.items()):
            jitter = rng.uniform(-0.22, 0.22, len(values))
            style = styles[cohort]
            axes.plot(values, row + jitter, style.marker, color=style.colour, markersize=4.5,
                      alpha=0.65, markeredgewidth=0)  # fmt: skip
            axes.plot([np.median(values)] * 2, [row - 0.33, row + 0.33], color=INK, linewidth=2)
        axes.set_yticks(range(len(groups)), [f"{c} ({len(v)})" for c, v in groups.items()])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, None)
        axes.set_xlabel(label)
        picture = svg(figure)
    medians = listed(f"{c} {np.median(v):.3g}" for c, v in groups.items())
    return Plot(name, picture, f"{label}, medians: {medians}.", caption)


def nodule_sizes(surveys: Sequence[ScanSurvey]) -> Plot | None:
    """Histogram of the nodules' diameters, with the limits of the size classes."""
    diameters_mm = [n.diameter_mm for s in surveys for n in s.nodules if n.diameter_mm]
    if not diameters_mm:
        return None
    top = max(25.0, float(np.ceil(max(diameters_mm))))
    with new_figure(WIDTH, 2.6) as figure:
        axes = figure.subplots()
        axes.hist(diameters_mm, bins=np.linspace(0, top, 26).tolist(), color="#0072B2", rwidth=0.9)
        for limit_mm in SIZES_MM:
            axes.axvline(limit_mm, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xlim(0, top)
        axes.set_xlabel("diameter (mm)")
        axes.set_ylabel("nodules")
        axes.grid(visible=False, axis="x")
        picture = svg(figure)
    return Plot(
        "nodule-sizes",
        picture,
        f"Histogram of the diameters of {counted(len(diameters_mm), 'nodule')}.",
        f"Diameter of the ball of the mask's volume, or as listed in nodules.csv. Dashed lines are "
        f"the limits of the size classes of evaluation, {listed(SIZES_MM)} mm.",
    )


def nodule_places(surveys: Sequence[ScanSurvey], styles: dict[str, Style]) -> Plot | None:
    """Scatter of the nodules in the box of their lungs, seen from the front and from the feet."""
    views = (("from the front", 2, "bottom", "top"), ("from the feet", 1, "back", "front"))
    placed = [n for s in surveys for n in s.nodules if n.place is not None]
    if not placed:
        return None
    with new_figure(WIDTH, 3.9) as figure:
        for axes, (title, axis, low, high) in zip(figure.subplots(1, 2), views, strict=True):
            for cohort, members in by_cohort(surveys).items():
                nodules = [n for s in members for n in s.nodules if n.place is not None]
                places = np.array([n.place for n in nodules]).reshape(-1, 3)
                sizes = [4 + 1.2 * (n.diameter_mm or 5.0) for n in nodules]
                axes.scatter(places[:, 0], places[:, axis], s=np.square(sizes) / 4,
                             color=styles[cohort].colour, marker=styles[cohort].marker,
                             alpha=0.55, linewidths=0,
                             label=cohort if nodules else None)  # fmt: skip
            _draw_box(axes, title, low, high)
        handles, names = axes.get_legend_handles_labels()
        if len(names) > 1:
            figure.legend(handles, names, loc="outside lower left", ncols=3, frameon=False)
        picture = svg(figure)
    return Plot(
        "nodule-places",
        picture,
        f"Positions of {counted(len(placed), 'nodule')} within the lungs, in two projections.",
        "The box is the lungs' own, so that patients of all sizes agree; symbols grow with the "
        "nodule. The patient's right lung is on the left. Nodules crowd at the middle where masks "
        "are another scan's, and lie on one side where a cohort's scans are flipped.",
    )


def _draw_box(axes: Axes, title: str, low: str, high: str) -> None:
    axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, color=MUTED, linewidth=1))
    axes.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_xlim(1.08, -0.08)  # radiological: the patient's right is on the left
    axes.set_ylim(-0.08, 1.08)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.set_xticks([1, 0], ["right", "left"])
    axes.set_yticks([0, 1], [low, high])
    axes.set_title(title)
