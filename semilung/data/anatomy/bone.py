"""Bone segmentation: dense tissue whose surface is denser than its inside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.anatomy.morphology import (
    Mask,
    Spacing,
    at_least,
    components,
    eroded,
    filled_slices,
    picked,
)

SURE_HU, DENSE_HU = 250.0, 160.0
CORE_MM, CORE_MM3 = 4.0, 1000.0
CORTEX_HU = 15.0
"""Least difference between a bone's shell and core; enhanced blood has none."""


def find_bone(
    hu: NDArray[Any], body: Mask, lung: Mask, spacing_mm: Spacing, *, smallest_mm3: float
) -> Mask:
    """Segment bone outside the lung: seeds of 250 HU grown to 160 HU, marrow filled, no specks."""
    dense = (hu > DENSE_HU) & body & ~lung
    if max(spacing_mm) < CORE_MM:  # else shell and core are not resolved
        dense &= ~_blood(hu, dense, spacing_mm)
    labels, _ = components(dense)
    seeds = np.bincount(labels[dense & (hu > SURE_HU)], minlength=labels.max() + 1)
    voxels = smallest_mm3 / float(np.prod(spacing_mm))
    bone = at_least(picked(labels, seeds >= max(1, 0.1 * voxels)), voxels)
    return filled_slices(bone) & body & ~lung


def _blood(hu: NDArray[Any], dense: Mask, spacing_mm: Spacing) -> Mask:
    """Segment contrast-enhanced heart and great vessels: thick, and no denser at their surface.

    Dense voxels are assigned to the nearest core (deeper than `CORE_MM`); then the upper quartile
    of each large core's shell is compared with the core's median.
    """
    core = eroded(dense, CORE_MM, spacing_mm)
    labels, sizes = components(core)
    if len(sizes) < 2:
        return np.zeros_like(dense)
    distance, at = ndimage.distance_transform_edt(~core, spacing_mm, return_indices=True)
    near = dense & (distance <= 2.5 * CORE_MM)
    owner = np.where(near, labels[tuple(at)], 0)
    shell = np.where(core, 0, owner)
    numbers = np.arange(1, len(sizes))
    inner = ndimage.median(hu, labels, numbers)
    quartile = ndimage.labeled_comprehension(
        hu, shell, numbers, lambda v: np.percentile(v, 75), float, np.inf
    )
    pool = sizes * float(np.prod(spacing_mm)) >= CORE_MM3
    pool[1:] &= quartile < inner + CORTEX_HU
    return picked(owner, pool)
