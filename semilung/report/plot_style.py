"""Style of all plots, legible for colour-blind readers and in greyscale print."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

INK, MUTED, RULE = "#1f2328", "#5b6470", "#d9dde2"

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
"""Palette of Okabe and Ito (2008) with violet instead of yellow, which is invisible on white."""

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 3)))

_RC: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "semilung",
    "figure.constrained_layout.use": True,
}


class Style(NamedTuple):
    """Colour, marker and dashes of one arm."""

    colour: str
    marker: str
    dashes: Any


def assign_styles(names: Sequence[str], reference: str) -> dict[str, Style]:
    """Return a distinct style for each name; the reference is black.

    Example:
        >>> assign_styles(["supervised", "mil"], "supervised")["supervised"].colour
        '#1f2328'
    """
    styles = {reference: Style(INK, "o", "-")}
    others = [name for name in names if name != reference]
    for i, name in enumerate(others):
        marker = _MARKERS[(i + 1) % len(_MARKERS)]
        styles[name] = Style(_COLOURS[i % len(_COLOURS)], marker, _DASHES[(i + 1) % len(_DASHES)])
    return styles


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """Yield a figure of a size in inches, in the style of reports, without a display."""
    with mpl.rc_context(_RC):
        yield Figure(figsize=(width, height))


def svg(figure: Figure) -> str:
    """Return the figure as SVG, with text as paths, independent of the reader's fonts."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
