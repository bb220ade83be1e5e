"""Segmentation of lung vessels: bright, and elongated rather than round."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.anatomy.chest import AIR_HU
from semilung.data.anatomy.morphology import (
    CORNERS,
    Mask,
    Spacing,
    box_of,
    components,
    dilated,
    eroded,
    picked,
)

FAINT_HU = -550.0
SMALLEST_MM3 = 15.0
COMPACT = 0.4
ROUND_CORE = 0.5
CORES_MM = (2.0, 3.0, 4.5, 6.0)
"""Radii of erosion that separate a nodule from its vessels, to measure its roundness."""


def find_vessels(hu: NDArray[Any], region: Mask, spacing_mm: Spacing) -> Mask:
    """Segment the bright components of the closed lung that are elongated or branched.

    A component's volume V is compared with that of the ball of equal scatter, whose radius is
    sqrt(5 m) for the mean m of the variances along its axes:

        compactness = V / (4/3 pi (5 m)^(3/2))

    1 for a ball, 0.56 for a tube twice as long as wide, 0.32 for one of three widths, and near 0
    for a tree. Components up to 0.4 are vessels, so isolated nodules are not; round thick parts of
    a vessel are removed by the same measure, but small nodules on vessels stay with them.
    Components mostly at the lung's surface are not vessels either.

    Away from the wall, and so from its partial volume, the threshold is lower the coarser the grid
    is: a thin vessel fills less of its voxel.
    """
    box = box_of(region, 2 * max(spacing_mm), spacing_mm)
    out = np.zeros_like(region)
    if box is not None:
        out[box] = _vessels(hu[box], region[box], spacing_mm)
    return out


def _vessels(hu: NDArray[Any], region: Mask, spacing_mm: Spacing) -> Mask:
    faint = max(FAINT_HU, AIR_HU - 50 * (max(spacing_mm) - 1))
    deep = eroded(region, 1.5 * max(spacing_mm), spacing_mm)
    bright = (region & (hu > AIR_HU)) | (deep & (hu > min(AIR_HU, faint)))
    labels, sizes = components(bright, CORNERS)
    count = np.maximum(sizes, 1)
    chosen = sizes * float(np.prod(spacing_mm)) >= SMALLEST_MM3
    chosen &= compactness(labels, sizes, spacing_mm) <= COMPACT
    chosen &= np.bincount(labels[deep], minlength=len(sizes)) >= 0.3 * count
    vessel = picked(labels, chosen)
    return vessel & ~_round_parts(vessel, spacing_mm)


def _round_parts(vessel: Mask, spacing_mm: Spacing) -> Mask:
    """Return round parts of vessels that remain after erosion, grown back; no specks."""
    out = np.zeros_like(vessel)
    voxel_mm3 = float(np.prod(spacing_mm))
    for radius_mm in CORES_MM:
        if radius_mm < max(spacing_mm):
            continue
        core = eroded(vessel, radius_mm, spacing_mm)
        labels, sizes = components(core, CORNERS)
        chosen = sizes * voxel_mm3 >= 4 / 3 * np.pi * (0.4 * radius_mm) ** 3
        chosen &= sizes >= 4
        chosen &= compactness(labels, sizes, spacing_mm) >= ROUND_CORE
        out |= dilated(picked(labels, chosen), radius_mm + max(spacing_mm), spacing_mm)
    return out


def compactness(
    labels: NDArray[np.int32], sizes: NDArray[np.int64], spacing_mm: Spacing
) -> NDArray[np.float64]:
    """Return each component's compactness (see `find_vessels`), with the extent of its voxels."""
    where = np.nonzero(labels)
    number = labels[where]
    count = np.maximum(sizes, 1)
    variance = np.zeros(len(sizes))
    for index, size, s in zip(where, labels.shape, spacing_mm, strict=True):
        at = (index - size / 2) * s
        first = np.bincount(number, at, minlength=len(sizes)) / count
        second = np.bincount(number, at * at, minlength=len(sizes)) / count
        variance += np.maximum(second - first * first, 0) + s * s / 12
    ball_mm3 = 4 / 3 * np.pi * (5 * variance / 3) ** 1.5
    out: NDArray[np.float64] = sizes * float(np.prod(spacing_mm)) / ball_mm3
    return out
