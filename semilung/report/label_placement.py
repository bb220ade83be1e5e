"""Placement of plot labels next to points and line ends without overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from semilung.report.plot_style import Style

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top."""

_DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1.5), (0, -1.5))


def label_dots(
    axes: Axes, dots: Sequence[tuple[float, float]], names: Sequence[str], styles: dict[str, Style]
) -> None:
    """Label dots (in data coordinates) with connecting lines; the layout must be final."""
    points = 72 / cast(Figure, axes.get_figure()).dpi
    at = (axes.transData.transform(dots) * points).tolist()
    left, bottom, right, top = (float(edge) * points for edge in axes.bbox.extents)
    sizes = [(5.3 * len(name) + 2, 11.0) for name in names]
    places = place_labels(at, sizes, (left, bottom, right, top))
    for dot, name, (x, y), (label_x, label_y) in zip(dots, names, at, places, strict=True):
        horizontal = abs(label_x - x) > 1
        side = (float(label_x < x), 0.5) if horizontal else (0.5, float(label_y < y))
        tie = {"arrowstyle": "-", "color": styles[name].colour, "linewidth": 0.8, "relpos": side}
        axes.annotate(
            name,
            dot,
            (label_x - x, label_y - y),
            textcoords="offset points",
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops=tie | {"shrinkA": 0, "shrinkB": 4},
        )


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Return positions at least `gap` apart, in the order of `values` and near them.

    Neighbours that are too close form a block, which is centred on the mean of its values.

    Example:
        >>> spread([0.0, 1.0, 1.1], 0.5)
        [0.0, 0.8, 1.3]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    blocks: list[list[int]] = []
    for i in order:
        blocks.append([i])
        while len(blocks) > 1 and _centre(blocks[-2], values) + _half(blocks[-2], gap) > _centre(
            blocks[-1], values
        ) - _half(blocks[-1], gap):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    placed = [0.0] * len(values)
    for block in blocks:
        start = _centre(block, values) - gap * (len(block) - 1) / 2
        for rank, i in enumerate(block):
            placed[i] = round(start + gap * rank, 9)
    return placed


def _centre(block: Sequence[int], values: Sequence[float]) -> float:
    return float(np.mean([values[i] for i in block]))


def _half(block: Sequence[int], gap: float) -> float:
    return gap * len(block) / 2


def label_ends(axes: Axes, ends: dict[str, tuple[float, float]], styles: dict[str, Style]) -> None:
    """Label lines at the right of their ends, moved apart and connected where they overlap."""
    figure = cast(Figure, axes.get_figure())
    gap = 12.5 / (figure.get_size_inches()[1] * 72 / len(figure.axes) - 45)
    heights = [
        axes.transAxes.inverted().transform(axes.transData.transform(e))[1] for e in ends.values()
    ]
    places = spread(heights, gap)
    lifted = max(0.0, gap / 2 - min(places))
    for (name, end), place in zip(ends.items(), places, strict=True):
        tie = {
            "arrowstyle": "-",
            "color": styles[name].colour,
            "linewidth": 0.8,
            "relpos": (0, 0.5),
        }
        axes.annotate(
            name,
            xy=end,
            xytext=(1.03, place + lifted),
            textcoords="axes fraction",
            arrowprops=tie | {"shrinkA": 1, "shrinkB": 2},
            annotation_clip=False,
            va="center",
        )


def place_labels(
    dots: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], bounds: Box
) -> list[tuple[float, float]]:
    """Return centres of labels near their dots that overlap neither dots nor labels nor bounds.

    Each label in turn is assigned the nearest free position in eight directions, the diagonals
    first. If there is none, it is placed at the right of its dot and overlaps.

    Args:
        dots: Positions in points.
        sizes: Width and height of each label in points.
        bounds: Box that contains all labels.

    Example:
        >>> place_labels([(50, 50), (52, 44)], [(30, 10), (30, 10)], (0, 0, 100, 100))
        [(73.0, 58), (75.0, 36)]
    """
    occupied: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in dots]
    centres = []
    for (x, y), (width, height) in zip(dots, sizes, strict=True):
        free = [(x + 8 + width / 2, y)]
        for far in (8, 16, 26, 38, 52, 70):
            for right, up in _DIRECTIONS:
                at = (x + right * (far + width / 2), y + up * far)
                box = _around(at, width, height)
                inside = all(a >= b for a, b in zip(box[:2], bounds[:2], strict=True)) and all(
                    a <= b for a, b in zip(box[2:], bounds[2:], strict=True)
                )
                if inside and not any(_overlap(box, other) for other in occupied):
                    free.append(at)
            if len(free) > 1:
                break
        centre = free[min(1, len(free) - 1)]
        centres.append(centre)
        occupied.append(_around(centre, width, height))
    return centres


def _around(centre: tuple[float, float], width: float, height: float) -> Box:
    x, y = centre
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
