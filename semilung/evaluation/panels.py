"""Rows of three planes drawn as one picture: sides, scale bar and a header."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from semilung.evaluation.overlay import outlined_plane

PANEL_PIXELS = 320

_GAP, _HEADER, _DPI = 4, 56, 100
_LENGTHS_MM = (5, 10, 20, 50, 100)
_EDGES = ("RLAP", "RLSI", "APSI")
"""Letters at the left, right, upper and lower edge of the axial, coronal and sagittal plane."""


class PanelRow(NamedTuple):
    """Three panels `(H, W, 3)` of one scale, and that scale."""

    panels: list[NDArray[np.uint8]]
    pixels_per_mm: float


class KeyEntry(NamedTuple):
    """A text of the header in the colour of an outline."""

    text: str
    rgb: tuple[int, int, int]


def panel_row(
    volumes: Sequence[NDArray[Any]],
    at: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    pixels: int = PANEL_PIXELS,
) -> PanelRow:
    """Draw axial, coronal and sagittal plane through a voxel, in isotropic pixels.

    Args:
        volumes: Grey values (uint8) and the two masks of `outlined_plane`, `(X, Y, Z)` in RAS.
        at: The voxel.
        spacing_mm: Voxel size along X, Y, Z.
        pixels: Least length of the longest edge.
    """
    finest = min(spacing_mm)
    extent = max(np.multiply(volumes[0].shape, spacing_mm)) / finest
    factor = max(1.0, pixels / extent)
    sizes = [
        max(1, round(n * factor * mm / finest))
        for n, mm in zip(volumes[0].shape, spacing_mm, strict=True)
    ]
    panels = [
        outlined_plane(*volumes, axis=axis, at=at[axis], sizes=sizes, width=2, smooth=True)
        for axis in (2, 1, 0)
    ]
    return PanelRow(panels, factor / finest)


def draw_panels(
    rows: Sequence[PanelRow],
    *,
    title: str,
    window_hu: tuple[float, float],
    key: Sequence[KeyEntry],
) -> NDArray[np.uint8]:
    """Draw rows of panels below each other under a header.

    Letters name the sides of the patient: R right, L left, A anterior, P posterior, S superior, I
    inferior. Each row has a scale bar.

    Args:
        rows: From `panel_row`.
        title: Of the picture, left in the header.
        window_hu: HU drawn as black and as white, right in the header.
        key: Outlines, in the second line of the header.

    Returns:
        `(H, W, 3)` uint8.
    """
    cell = max(max(panel.shape[:2]) for row in rows for panel in row.panels)
    heights = [max(panel.shape[0] for panel in row.panels) for row in rows]
    width = 3 * cell + 2 * _GAP
    height = _HEADER + sum(heights) + _GAP * (len(rows) - 1)
    picture = np.zeros((height, width, 3), np.uint8)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="black")
    top = _HEADER
    for row, tall in zip(rows, heights, strict=True):
        for column, panel in enumerate(row.panels):
            y = top + (tall - panel.shape[0]) // 2
            x = column * (cell + _GAP) + (cell - panel.shape[1]) // 2
            picture[y : y + panel.shape[0], x : x + panel.shape[1]] = panel
            _letter_sides(figure, (x, y, *panel.shape[1::-1]), _EDGES[column])
        _draw_scale(figure, row.pixels_per_mm, cell, top + tall)
        top += tall + _GAP
    _write_header(figure, title, window_hu, key)
    figure.figimage(picture, 0, 0, origin="upper")
    canvas: Any = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # a case may be named in a script that the font lacks
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _text(figure: Figure, x: float, y: float, text: str, **look: Any) -> Any:
    """Draw text at a pixel counted from the upper left corner."""
    width, height = figure.bbox.size
    outline = [withStroke(linewidth=2, foreground="black")]
    return figure.text(
        x / width, 1 - y / height, text, parse_math=False, path_effects=outline,
        **{"color": "0.92", "fontsize": 9, "family": "DejaVu Sans", **look},
    )  # fmt: skip


def _letter_sides(figure: Figure, box: tuple[int, int, int, int], sides: str) -> None:
    x, y, width, height = box
    places = (
        (x + 4, y + height / 2, "left", "center"),
        (x + width - 4, y + height / 2, "right", "center"),
        (x + width / 2, y + 3, "center", "top"),
        (x + width / 2, y + height - 3, "center", "bottom"),
    )
    for letter, (at_x, at_y, ha, va) in zip(sides, places, strict=True):
        _text(figure, at_x, at_y, letter, ha=ha, va=va, fontsize=10.5, weight="bold")


def _draw_scale(figure: Figure, pixels_per_mm: float, cell: int, bottom: int) -> None:
    """Draw a bar of a round length, at most a third of a panel, at the lower left of a row."""
    fitting = [mm for mm in _LENGTHS_MM if mm * pixels_per_mm <= cell / 3]
    length_mm = fitting[-1] if fitting else _LENGTHS_MM[0]
    width, height = figure.bbox.size
    left, right = 8.0, 8 + length_mm * pixels_per_mm
    y = 1 - (bottom - 8) / height
    figure.add_artist(
        Line2D([left / width, right / width], [y, y], color="white", linewidth=2.2,
               solid_capstyle="butt", path_effects=[withStroke(linewidth=4, foreground="black")])
    )  # fmt: skip
    _text(figure, left, bottom - 13, f"{length_mm} mm", ha="left", va="bottom", fontsize=10.5)


def _write_header(
    figure: Figure, title: str, window_hu: tuple[float, float], key: Sequence[KeyEntry]
) -> None:
    width = figure.bbox.size[0]
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in title)
    most = max(8, int((width - 240) / 13))  # characters that leave room for the window
    name = name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
    _text(figure, 8, 5, name, ha="left", va="top", weight="bold", fontsize=13)
    low, high = (f"{edge:g}".replace("-", "\N{MINUS SIGN}") for edge in window_hu)
    _text(figure, width - 8, 8, f"window {low} to {high} HU", ha="right", va="top", fontsize=11)
    at = 8.0
    for text, rgb in key:
        colour = tuple(channel / 255 for channel in rgb)
        _text(figure, at, 32, f"\N{BLACK SQUARE} {text}", ha="left", va="top", fontsize=11,
              color=colour)  # fmt: skip
        at += 230
