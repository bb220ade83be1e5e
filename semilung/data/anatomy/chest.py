"""Segmentation of body, outside air and airway in a CT of the whole chest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.anatomy.morphology import (
    AXIAL,
    Mask,
    Spacing,
    components,
    dilated,
    filled_slices,
    medians,
    picked,
)

AIR_HU = -400.0
"""Threshold of air, half way from parenchyma to muscle."""

GAS_HU = -955.0
"""Components of air whose median is lower hold no parenchyma: outside, trachea, bowel gas."""

TRACHEA_MM2 = (25.0, 700.0)
TRACHEA_LENGTH_MM = 15.0
AIRWAY_ML = 120.0
LEAK = 1.6
"""Growth of the airway at one step of the threshold that indicates leakage into the lung."""


class Body(NamedTuple):
    """Mask of the body with its contents, and of the air around it."""

    inside: Mask
    outside_air: Mask


def find_body(hu: NDArray[np.float32]) -> Body:
    """Segment the body (large tissue components, holes of axial slices filled) and outside air.

    Air at the border of its slice is outside air if it is pure gas. Denser air may be the table's
    foam and stays unlabelled; but if there is more of it than air within the body, the field of
    view cuts into the lungs, and it belongs to the body.
    """
    # Padded, because opening treats voxels beyond the grid as air.
    tissue = ndimage.binary_opening(np.pad(hu > AIR_HU, 1, "edge"))[1:-1, 1:-1, 1:-1]
    labels, sizes = components(tissue)
    inside = filled_slices(picked(labels, sizes >= max(1, 0.1 * sizes.max(initial=0))))
    air = (hu <= AIR_HU) & ~inside
    labels, sizes = components(air)
    large = np.flatnonzero(sizes >= 0.001 * hu.size)
    dense = [k for k, hu_k in zip(large, medians(hu, labels, large), strict=True) if hu_k > GAS_HU]
    uncertain = np.isin(labels, dense)
    if uncertain.sum() > (inside & (hu <= AIR_HU)).sum():
        return Body(inside | uncertain, air & ~uncertain)
    return Body(inside, air & ~(uncertain & (ndimage.gaussian_filter(hu, 1.0) > GAS_HU)))


def find_airway(hu: NDArray[np.float32], body: Mask, spacing_mm: Spacing) -> Mask:
    """Segment the lumen of trachea and large bronchi; empty if no trachea is found.

    The trachea is the longest upright run of small round air spots in axial slices, each surrounded
    by tissue. From it a region grows under a rising threshold until it leaks into the lung, shown
    by a jump of its volume; the step before is returned.
    """
    trachea = _trachea(hu, body, spacing_mm)
    if not trachea.any():
        return trachea
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    smooth = ndimage.gaussian_filter(hu, [0.5 / s for s in spacing_mm])
    start = float(np.median(smooth[trachea]))
    airway = trachea & (smooth < start + 60)
    previous = airway.sum()
    for hu_below in np.arange(start + 10, -860, 12):
        labels, _ = components((smooth < hu_below) & body)
        touched = np.unique(labels[airway])
        grown = picked(labels, np.isin(np.arange(labels.max() + 1), touched))
        size = (grown | airway).sum()
        if size * voxel_ml > AIRWAY_ML or (hu_below > start + 25 and size > LEAK * previous):
            break
        airway, previous = grown | airway, size
    rim = dilated(airway, 1.01 * max(spacing_mm), spacing_mm) & trachea
    return airway | rim


def _trachea(hu: NDArray[np.float32], body: Mask, spacing_mm: Spacing) -> Mask:
    """Return the longest central run of round air spots; empty if none is long enough."""
    labels, sizes = components(body & (hu < -500), AXIAL)
    area = sizes * spacing_mm[0] * spacing_mm[1]
    fits = (area >= TRACHEA_MM2[0]) & (area <= TRACHEA_MM2[1])
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if fits[number]:
            x, y = ((box[i].stop - box[i].start) * spacing_mm[i] for i in (0, 1))
            fits[number] = 0.5 <= x / y <= 2 and area[number] >= 0.5 * x * y
    runs, _ = components(picked(labels, fits))
    best, best_mm = np.zeros_like(body), TRACHEA_LENGTH_MM
    middle, half = _middle(body)
    for number, box in enumerate(ndimage.find_objects(runs), start=1):
        length_mm = (box[2].stop - box[2].start) * spacing_mm[2]
        is_central = abs((box[0].start + box[0].stop) / 2 - middle) < 0.35 * half
        is_upper = box[2].stop > 0.6 * body.shape[2]
        if is_central and is_upper and length_mm >= best_mm:
            run = runs == number
            if np.median(hu[run]) < -850:
                best, best_mm = run, length_mm
    return best


def _middle(body: Mask) -> tuple[float, float]:
    """Return centre and half width of the body from left to right, in voxels."""
    columns = np.flatnonzero(body.any(axis=(1, 2)))
    if not len(columns):
        return 0.0, 0.0
    return float(columns[0] + columns[-1]) / 2, float(columns[-1] - columns[0]) / 2
