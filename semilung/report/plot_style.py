"""The look of every plot: colours that colour-blind readers and grey printers keep apart."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

INK, MUTED, RULE = "#1f2328", "#5b6470", "#d9dde2"

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
"""Okabe and Ito (2008) without the yellow, which a light page swallows; a violet beside them."""

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


class Look(NamedTuple):
    """Colour, marker and dashes of one arm."""

    colour: str
    marker: str
    dashes: Any


def looks(names: Sequence[str], reference: str) -> dict[str, Look]:
    """A look for each name, all different; the reference is black.

    Example:
        >>> looks(["supervised", "mil"], "supervised")["supervised"].colour
        '#1f2328'
    """
    found = {reference: Look(INK, "o", "-")}
    others = [name for name in names if name != reference]
    for i, name in enumerate(others):
        marker = _MARKERS[(i + 1) % len(_MARKERS)]
        found[name] = Look(_COLOURS[i % len(_COLOURS)], marker, _DASHES[(i + 1) % len(_DASHES)])
    return found


@contextmanager
def canvas(width: float, height: float) -> Iterator[Canvas]:
    """A figure of inches in the house style, drawn without a display."""
    with mpl.rc_context(_RC):
        yield Canvas(figsize=(width, height))


def svg(drawn: Canvas) -> str:
    """The figure as SVG; text is drawn as outlines, so no reader's font can cut it."""
    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
