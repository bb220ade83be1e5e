"""Anatomy labels (`ANATOMY`) of one CT in HU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semilung.data.anatomy.bone import find_bone
from semilung.data.anatomy.chest import GAS_HU, find_airway, find_body
from semilung.data.anatomy.classes import ANATOMY
from semilung.data.anatomy.lung_region import aerated_lungs, air_of, closed_region
from semilung.data.anatomy.morphology import Mask, Spacing, components, dilated, medians
from semilung.data.anatomy.vessel_mask import find_vessels
from semilung.data.cache.prepared_grid import at_spacing, classes_onto, image_onto, straightened
from semilung.data.io.grid import Grid
from semilung.data.io.volume import Volume, to_ras

FINEST_MM = 1.0
"""Finer grids are resampled to this spacing, and the labels back."""

CHEST_MM = 90.0
"""Narrower fields of view do not show the body's outline, and are labelled as a cube."""

AIR_LIMITS_HU = (-1024.0, 3071.0)


def label_anatomy(volume: Volume, *, lungs: Mask | None = None) -> NDArray[np.uint8]:
    """Label the anatomy of a chest CT, or of a cube cut from one, on the volume's grid.

    Args:
        volume: CT in HU, in any orientation.
        lungs: `(X, Y, Z)` lung mask of another method; ignored for a cube.

    Returns:
        `(X, Y, Z)` labels of `ANATOMY`; 0 where uncertain, such as gas in the bowel.
    """
    ras = straightened(to_ras(volume), fill=AIR_LIMITS_HU[0])
    work = image_onto(ras, _working_grid(ras), fill=AIR_LIMITS_HU[0])
    hu = np.clip(work.data, *AIR_LIMITS_HU).astype(np.float32)
    extent_mm = np.array(work.spacing_mm) * work.shape
    if extent_mm[:2].min() < CHEST_MM:
        labels = label_cube(hu, work.spacing_mm)
    else:
        grid = Grid(work.shape, work.affine)
        lung_mask = None if lungs is None else classes_onto(Volume(lungs, volume.affine), grid) > 0
        labels = label_chest(hu, work.spacing_mm, lung_mask)
    return classes_onto(Volume(labels, work.affine), Grid(volume.shape, volume.affine))


def _working_grid(volume: Volume) -> Grid:
    """Return the volume's grid with no axis finer than `FINEST_MM`, over the same extent."""
    extent = np.array(volume.spacing_mm) * volume.shape
    voxels = np.minimum(volume.shape, np.maximum(1, np.floor(extent / FINEST_MM)))
    x, y, z = (extent / voxels).tolist()
    return at_spacing(volume, (x, y, z))


def label_chest(
    hu: NDArray[np.float32], spacing_mm: Spacing, lung_mask: Mask | None = None
) -> NDArray[np.uint8]:
    """Label a scan of the whole chest, in RAS+; `lung_mask` replaces the lungs found here."""
    body = find_body(hu)
    lumen = find_airway(hu, body.inside, spacing_mm)
    airway = dilated(lumen, 1.01 * max(spacing_mm), spacing_mm) & (hu < -500) & body.inside
    air = air_of(hu) & body.inside & ~airway
    lungs = aerated_lungs(hu, air, spacing_mm) if lung_mask is None else [lung_mask & ~airway]
    return _assembled(hu, body.inside, body.outside_air, airway, lungs, spacing_mm)


def label_cube(hu: NDArray[np.float32], spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Label a part of a chest: air is lung, except components of pure gas."""
    labels, sizes = components(air_of(hu))
    large = np.flatnonzero(sizes >= 200)
    gas = [k for k, m in zip(large, medians(hu, labels, large), strict=True) if m <= GAS_HU]
    none = np.zeros(hu.shape, bool)
    lung = (labels > 0) & ~np.isin(labels, gas)
    return _assembled(hu, ~none, none, none, [lung], spacing_mm)


def _assembled(
    hu: NDArray[np.float32],
    body: Mask,
    outside_air: Mask,
    airway: Mask,
    lungs: list[Mask],
    spacing_mm: Spacing,
) -> NDArray[np.uint8]:
    region = closed_region(lungs, hu.shape, spacing_mm) & ~airway & ~outside_air
    bone = find_bone(hu, body, region, spacing_mm, smallest_mm3=300)
    vessel = find_vessels(hu, region, spacing_mm)
    out = np.full(hu.shape, ANATOMY["unlabelled"], np.uint8)
    out[body & ~air_of(hu)] = ANATOMY["soft_tissue"]
    out[bone] = ANATOMY["bone"]
    out[outside_air] = ANATOMY["outside_air"]
    out[region] = ANATOMY["lung"]
    out[vessel] = ANATOMY["vessel"]
    out[airway] = ANATOMY["airway"]
    return out
