"""Body, outside air and airway of a chest CT that shows the body's outline or most of it."""

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
"""Below, a voxel is more air than tissue; half way from parenchyma to muscle."""

GAS_HU = -955.0
"""Components of air whose median is lower hold no parenchyma: outside, trachea, bowel gas."""

TRACHEA_MM2 = (25.0, 700.0)
TRACHEA_LENGTH_MM = 15.0
AIRWAY_ML = 120.0
LEAK = 1.6
"""A step of the threshold that makes the airway so many times as large has broken its wall."""


class Body(NamedTuple):
    """The body with all that it holds, and the air around it."""

    inside: Mask
    outside_air: Mask


def find_body(hu: NDArray[np.float32]) -> Body:
    """The tissue's large components with the holes of their axial slices filled, and outside air.

    Air that reaches the border of its slice lies outside where it is pure gas. What is not may be
    the table's foam, and stays uncertain; but where there is more of it than air within the body,
    the scan is cut so close that it cuts into the lungs, and it belongs to the body.
    """
    tissue = ndimage.binary_opening(hu > AIR_HU)
    labels, sizes = components(tissue)
    inside = filled_slices(picked(labels, sizes >= max(1, 0.1 * sizes.max(initial=0))))
    air = (hu <= AIR_HU) & ~inside
    labels, sizes = components(air)
    large = np.flatnonzero(sizes >= 0.001 * hu.size)
    dense = [k for k, hu_k in zip(large, medians(hu, labels, large), strict=True) if hu_k > GAS_HU]
    doubtful = np.isin(labels, dense)
    if doubtful.sum() > (inside & (hu <= AIR_HU)).sum():
        return Body(inside | doubtful, air & ~doubtful)
    return Body(inside, air & ~(doubtful & (ndimage.gaussian_filter(hu, 1.0) > GAS_HU)))


def find_airway(hu: NDArray[np.float32], body: Mask, spacing_mm: Spacing) -> Mask:
    """Lumen of trachea and bronchi, as far as it can be told from parenchyma; empty if not found.

    The trachea is the longest upright run of small round dark spots of axial slices, each on its
    own within tissue. From it a region grows under a threshold that rises until the region leaks
    into the lung, which its volume tells by a jump; the step before is kept.
    """
    trachea = _trachea(hu, body, spacing_mm)
    if not trachea.any():
        return trachea
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    smooth = ndimage.gaussian_filter(hu, [0.5 / s for s in spacing_mm])
    start = float(np.median(smooth[trachea]))
    kept = trachea & (smooth < start + 60)
    before = kept.sum()
    for hu_below in np.arange(start + 10, -860, 12):
        labels, _ = components((smooth < hu_below) & body)
        found = np.unique(labels[kept])
        grown = picked(labels, np.isin(np.arange(labels.max() + 1), found))
        size = (grown | kept).sum()
        if size * voxel_ml > AIRWAY_ML or (hu_below > start + 25 and size > LEAK * before):
            break
        kept, before = grown | kept, size
    rim = dilated(kept, 1.01 * max(spacing_mm), spacing_mm) & trachea
    return kept | rim


def _trachea(hu: NDArray[np.float32], body: Mask, spacing_mm: Spacing) -> Mask:
    """The best run of spots; empty where none is long enough."""
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
        centred = abs((box[0].start + box[0].stop) / 2 - middle) < 0.35 * half
        upper = box[2].stop > 0.6 * body.shape[2]
        if centred and upper and length_mm >= best_mm:
            run = runs == number
            if np.median(hu[run]) < -850:
                best, best_mm = run, length_mm
    return best


def _middle(body: Mask) -> tuple[float, float]:
    """Centre and half width of the body from left to right, in voxels."""
    columns = np.flatnonzero(body.any(axis=(1, 2)))
    if not len(columns):
        return 0.0, 0.0
    return float(columns[0] + columns[-1]) / 2, float(columns[-1] - columns[0]) / 2
