"""Lung region: aerated lung, closed over vessels and nodules within it and at its wall."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.anatomy.chest import AIR_HU, GAS_HU
from semilung.data.anatomy.morphology import (
    AXIAL,
    Mask,
    Spacing,
    closed,
    components,
    eroded,
    filled_slices,
    medians,
    opened,
    picked,
)

CLOSING_MM, DOME_MM = 12.0, 8.0
FILM_MM = 1.5
"""Half the least thickness of what closing adds; excludes films along smooth walls."""
SECOND = 0.2
"""Least ratio of the smaller to the larger lung."""
HOLE_MM3 = 40_000.0
"""Largest hole that is filled, a ball of 42 mm: large nodules, but not the heart."""


def aerated_lungs(hu: NDArray[Any], air: Mask, spacing_mm: Spacing) -> list[Mask]:
    """Segment the aerated lungs, left and right as separate masks where possible.

    They are components of air of at least a twentieth of the largest, whose median is not that of
    pure gas.
    """
    labels, sizes = components(air)
    large = np.flatnonzero(sizes >= max(1.0, 0.02 * sizes.max(initial=0)))
    aerated = [
        (int(sizes[k]), int(k))
        for k, hu_k in zip(large, medians(hu, labels, large), strict=True)
        if hu_k > GAS_HU
    ]
    if not aerated:
        return []
    most = max(aerated)[0]
    lungs = [labels == k for size, k in aerated if size >= 0.05 * most]
    if sum(size >= SECOND * most for size, _ in aerated) > 1:
        return lungs
    return [half for lung in lungs for half in _halves(lung, spacing_mm)]


def _halves(lung: Mask, spacing_mm: Spacing) -> list[Mask]:
    """Split a mask in which both lungs touch; return it alone if it cannot be split."""
    for radius_mm in (1.0, 2.0, 4.0):
        core = eroded(lung, radius_mm * max(1.0, min(spacing_mm)), spacing_mm)
        labels, sizes = components(core)
        order = np.argsort(sizes)[::-1]
        if len(order) > 1 and sizes[order[1]] >= SECOND * sizes[order[0]] > 0:
            markers = np.where(labels == order[0], 1, np.where(labels == order[1], 2, 0))
            at = ndimage.distance_transform_edt(
                markers == 0, spacing_mm, return_distances=False, return_indices=True
            )
            nearest = markers[tuple(at)]
            return [lung & (nearest == side) for side in (1, 2)]
    return [lung]


def closed_region(lungs: list[Mask], shape: tuple[int, ...], spacing_mm: Spacing) -> Mask:
    """Fill the holes of the lungs and the gaps in their walls, up to the size of nodules."""
    region = np.zeros(shape, bool)
    for lung in lungs:
        filled = _holes_filled(lung, spacing_mm)
        gaps = closed(filled, CLOSING_MM, spacing_mm) & ~filled
        region |= _holes_filled(filled | opened(gaps, FILM_MM, spacing_mm), spacing_mm)
    return region


def _holes_filled(mask: Mask, spacing_mm: Spacing) -> Mask:
    """Fill the holes of axial slices: vessels and nodules, but not the heart or a liver's dome.

    Those are large, or rest broadly on tissue in the slice below or above.
    """
    filled = filled_slices(mask)
    holes = filled & ~mask
    labels, sizes = components(holes)
    chosen = sizes * np.prod(spacing_mm) <= HOLE_MM3
    beyond = np.pad(~filled, ((0, 0), (0, 0), (1, 1)))
    standing = holes & (beyond[..., :-2] | beyond[..., 2:])
    steps = max(1, round(DOME_MM / max(spacing_mm[:2])))
    wide = ndimage.binary_erosion(standing, AXIAL, iterations=steps)
    chosen[np.unique(labels[wide])] = False
    return mask | picked(labels, chosen)


def air_of(hu: NDArray[Any]) -> Mask:
    """Return the voxels below `AIR_HU`."""
    return np.asarray(hu <= AIR_HU)
