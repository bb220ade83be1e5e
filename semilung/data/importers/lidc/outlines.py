"""From a reader's outlines to voxels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from semilung.data.importers.lidc.reader_xml import Outline, Reading
from semilung.data.io.grid import Shape

Voxels = NDArray[np.int64]
"""Sorted indices into a volume's flattened voxels."""


def enclosed_pixels(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pixels inside an outline, without those on it.

    The outlines of LIDC-IDRI run through the pixels just outside of what they enclose.

    Args:
        points: Pixels `(N, 2)` along the outline, which is closed from the last to the first.

    Returns:
        Pixels `(M, 2)`; none where the outline encloses none.

    Example:
        >>> enclosed_pixels(np.array([[0, 0], [3, 0], [3, 2], [0, 2]])).tolist()
        [[1, 1], [2, 1]]
    """
    from matplotlib.path import Path  # slow to import, and needed by this importer alone

    closed = np.vstack((points, points[:1]))
    low, high = points.min(0), points.max(0) + 1
    box = np.indices(high - low).reshape(2, -1).T
    inner = np.zeros(high - low, bool)
    inner[*box.T] = Path(closed - low, closed=True).contains_points(box)
    inner[*(_pixels_on(closed) - low).T] = False
    pixels: NDArray[np.int64] = np.argwhere(inner) + low
    return pixels


def _pixels_on(closed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return every pixel whose centre is on the line through the points."""
    steps = np.diff(closed, axis=0)
    counts = np.maximum(np.gcd(*np.abs(steps).T), 1)
    segment = np.repeat(np.arange(len(steps)), counts)
    number = np.arange(counts.sum()) - (np.cumsum(counts) - counts)[segment]
    pixels: NDArray[np.int64] = closed[segment] + number[:, None] * (
        steps[segment] // counts[segment, None]
    )
    return pixels


def voxels_of(reading: Reading, slices: Mapping[str, int], shape: Shape) -> Voxels:
    """Return the voxels of a nodule: inside its inclusions, and outside its exclusions.

    Outlines on slices that the volume lacks are left out. An exclusion's own outline, just outside
    of the hole, is part of the nodule.

    Args:
        reading: Of one reader.
        slices: SOP instance to the index of its slice.
        shape: Of the volume: columns, rows, slices.

    Raises:
        ValueError: An outline leaves the slice.
    """
    voxels: dict[bool, list[Voxels]] = {True: [np.empty(0, np.int64)], False: []}
    for outline in present(reading, slices):
        if (outline.points >= shape[:2]).any():
            raise ValueError(
                f"an outline at {outline.points.max(0).tolist()} is outside of its slice of "
                f"{shape[0]} x {shape[1]} pixels"
            )
        columns, rows = enclosed_pixels(outline.points).T
        flat = np.ravel_multi_index((columns, rows, slices[outline.image_uid]), shape)
        voxels[outline.inclusion].append(flat)
    return np.setdiff1d(np.concatenate(voxels[True]), np.concatenate([*voxels[False], []]))


def present(reading: Reading, slices: Mapping[str, int]) -> list[Outline]:
    """Return the outlines of a reading that are on slices of the volume."""
    return [outline for outline in reading.outlines if outline.image_uid in slices]
