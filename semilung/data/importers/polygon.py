"""Pixels of a slice that an outline encloses, for all formats of contours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-3
"""Distance in pixels within which a pixel's centre is on an outline; files round coordinates."""


def enclosed_pixels(
    points: NDArray[np.int64] | NDArray[np.float64], shape: tuple[int, int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels whose centres are inside a polygon, and those whose centres are on it.

    What is inside follows the even-odd rule, so that an outline that runs into a hole and back
    (keyhole) leaves the hole out.

    Args:
        points: Polygon `(N, 2)` in pixels, with centres at whole numbers; it is closed from the
            last point to the first.
        shape: Of the slice: pixels outside of it are left out.

    Returns:
        Pixels `(M, 2)` inside, without those on the outline; and those on it, each once.

    Example:
        >>> inside, on_outline = enclosed_pixels(np.array([[0, 0], [2, 0], [2, 2], [0, 2]]))
        >>> inside.tolist(), len(on_outline)
        ([[1, 1]], 8)
    """
    from matplotlib.path import Path  # slow to import, and needed by few importers

    closed = np.vstack((points, points[:1])).astype(np.float64)
    low, high = np.floor(closed.min(0)).astype(int), np.ceil(closed.max(0)).astype(int) + 1
    if shape is not None:
        low, high = np.clip(low, 0, shape), np.clip(high, 0, shape)
    size = np.maximum(high - low, 0)
    box = np.indices(size).reshape(2, -1).T
    inner, outline = np.zeros(size, bool), np.zeros(size, bool)
    inner[*box.T] = Path(closed - low, closed=True).contains_points(box)
    on_line = _pixels_on(closed) - low
    on_line = on_line[((on_line >= 0) & (on_line < size)).all(1)]
    outline[*on_line.T] = True
    inside: NDArray[np.int64] = np.argwhere(inner & ~outline) + low
    return inside, np.argwhere(outline) + low


def _pixels_on(closed: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return every pixel whose centre is on the line through the points."""
    start, steps = closed[:-1], np.diff(closed, axis=0)
    ends = np.stack((start, start + steps))
    pixels = []
    for axis in (0, 1):  # where the line crosses whole columns, and whole rows
        low = np.ceil(ends[..., axis].min(0) - TOLERANCE).astype(np.int64)
        high = np.floor(ends[..., axis].max(0) + TOLERANCE).astype(np.int64)
        counts = np.maximum(high - low + 1, 0)
        segment = np.repeat(np.arange(len(steps)), counts)
        first = np.cumsum(counts) - counts
        place = np.arange(counts.sum()) - first[segment] + low[segment]
        span = steps[segment, axis]
        share = np.zeros(len(segment))
        np.divide(place - start[segment, axis], span, out=share, where=span != 0)
        other = start[segment, 1 - axis] + np.clip(share, 0, 1) * steps[segment, 1 - axis]
        nearest = np.rint(other).astype(np.int64)
        is_on = np.abs(other - nearest) <= TOLERANCE
        pair = (place[is_on], nearest[is_on])
        pixels.append(np.stack(pair if axis == 0 else pair[::-1], axis=1))
    return np.concatenate(pixels)
