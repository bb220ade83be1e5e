"""Where the lungs are: thresholds and components, enough for a bounding box."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.volume import Volume

BOX_SPACING_MM = 3.0
CHEST_WIDTH_MM = 180.0
LUNG_VOLUME_MM3 = 5e5
AIR_HU = -400.0


def lung_box(volume: Volume, margin_mm: float) -> tuple[slice, slice, slice]:
    """The box around both lungs, `margin_mm` larger on every side and cut to the volume.

    Air within the body: what a threshold leaves of each axial slice once the holes of the body
    are filled; of its components those of at least a tenth of the largest are kept, so that a
    collapsed lung stays and gas in the bowel goes. Trachea joined to them stays: the box errs on
    the large side. A volume that is narrower than a chest, or in which less than 500 ml of lung
    is found, is kept whole.

    Args:
        volume: CT in HU, in RAS (so that the last axis is axial).
        margin_mm: What is added around.

    Returns:
        Slices into `volume.data`.
    """
    whole = (slice(0, volume.shape[0]), slice(0, volume.shape[1]), slice(0, volume.shape[2]))
    spacing_mm = np.array(volume.spacing_mm)
    if (spacing_mm * volume.shape)[:2].min() < CHEST_WIDTH_MM:
        return whole
    step = np.maximum(1, np.rint(BOX_SPACING_MM / spacing_mm)).astype(int)
    coarse = volume.data[:: step[0], :: step[1], :: step[2]]
    lungs = _air_in_body(coarse, float(np.prod(step * spacing_mm)))
    if lungs is None:
        return whole
    box = []
    for cut, n, s, mm in zip(
        ndimage.find_objects(lungs.astype(np.int8))[0], volume.shape, step, spacing_mm, strict=True
    ):
        margin = int(np.ceil(margin_mm / mm))
        # A coarse voxel stands for the `s` fine ones around it.
        low, high = int(cut.start * s - s + 1), int(cut.stop * s)
        box.append(slice(max(0, low - margin), min(n, high + margin)))
    return (box[0], box[1], box[2])


def _air_in_body(hu: NDArray[Any], voxel_mm3: float) -> NDArray[np.bool_] | None:
    """Lungs of a coarse CT, or None where too little is found to trust."""
    tissue = ndimage.binary_opening(hu > AIR_HU)
    labels, count = ndimage.label(tissue)
    if count == 0:
        return None
    body = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    filled = np.stack([ndimage.binary_fill_holes(cut) for cut in np.moveaxis(body, 2, 0)], axis=2)
    labels, count = ndimage.label(filled & (hu <= AIR_HU))
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if sizes.sum() * voxel_mm3 < LUNG_VOLUME_MM3:
        return None
    lungs: NDArray[np.bool_] = (sizes >= 0.1 * sizes.max())[labels]
    return lungs
