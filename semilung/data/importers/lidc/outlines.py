"""From a reader's outlines to voxels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from semilung.data.importers.lidc.reader_xml import Outline, Reading
from semilung.data.importers.polygon import enclosed_pixels
from semilung.data.io.grid import Shape

Voxels = NDArray[np.int64]
"""Sorted indices into a volume's flattened voxels."""


def voxels_of(reading: Reading, slices: Mapping[str, int], shape: Shape) -> Voxels:
    """Return the voxels of a nodule: inside its inclusions, and outside its exclusions.

    The outlines of LIDC-IDRI run through the pixels just outside of what they enclose, so that
    pixels on an outline are left out. An exclusion's own outline, just outside of the hole, is part
    of the nodule. Outlines on slices that the volume lacks are left out.

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
        columns, rows = enclosed_pixels(outline.points)[0].T
        flat = np.ravel_multi_index((columns, rows, slices[outline.image_uid]), shape)
        voxels[outline.inclusion].append(flat)
    return np.setdiff1d(np.concatenate(voxels[True]), np.concatenate([*voxels[False], []]))


def present(reading: Reading, slices: Mapping[str, int]) -> list[Outline]:
    """Return the outlines of a reading that are on slices of the volume."""
    return [outline for outline in reading.outlines if outline.image_uid in slices]
