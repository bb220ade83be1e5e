"""Where the lungs are: thresholds and components, enough for a box and to skip what is far off."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.resample import resample_onto
from semilung.data.volume import Header, Volume, spacing_of

BOX_SPACING_MM = 3.0
CHEST_WIDTH_MM = 180.0
LUNG_VOLUME_MM3 = 5e5
AIR_HU = -400.0
BLOCK = 8
"""Edge in voxels of the blocks in which a prepared volume tells where its lungs are."""


def find_lungs(volume: Volume) -> Volume | None:
    """Both lungs on a coarse grid (True where lung), or None where a volume shows no chest.

    Air within the body: what a threshold leaves of each axial slice once the holes of the body
    are filled, those that end at the image's rim too; of its components those of at least a tenth
    of the largest are kept, so that a collapsed lung stays and gas in the bowel goes. Trachea
    joined to them stays: the lungs err on the large side. A volume that is narrower than a chest,
    or in which less than 500 ml of lung is found, has none.

    Args:
        volume: CT in HU, in RAS (so that the last axis is axial).
    """
    spacing_mm = np.array(volume.spacing_mm)
    if (spacing_mm * volume.shape)[:2].min() < CHEST_WIDTH_MM:
        return None
    step = np.maximum(1, np.rint(BOX_SPACING_MM / spacing_mm)).astype(int)
    coarse = volume.data[:: step[0], :: step[1], :: step[2]]
    lungs = _air_in_body(coarse, float(np.prod(step * spacing_mm)))
    return None if lungs is None else Volume(lungs, volume.affine @ np.diag([*step, 1.0]))


def lung_box(lungs: Volume, grid: Header | Volume, margin_mm: float) -> tuple[slice, slice, slice]:
    """The box around lungs, `margin_mm` larger on every side and cut to the volume.

    Args:
        lungs: As `find_lungs` gives them.
        grid: Of the volume in which they were found.
        margin_mm: What is added around.

    Returns:
        Slices into the volume.
    """
    spacing_mm = spacing_of(grid.affine)
    steps = np.rint(np.divide(lungs.spacing_mm, spacing_mm)).astype(int).tolist()
    found = ndimage.find_objects(lungs.data.astype(np.int8))[0]
    box = []
    for cut, n, s, mm in zip(found, grid.shape, steps, spacing_mm, strict=True):
        margin = int(np.ceil(margin_mm / mm))
        # A coarse voxel stands for the `s` fine ones around it.
        low, high = int(cut.start * s - s + 1), int(cut.stop * s)
        box.append(slice(max(0, low - margin), min(n, high + margin)))
    return (box[0], box[1], box[2])


def lung_blocks(lungs: Volume, grid: Header | Volume, margin_mm: float) -> NDArray[np.bool_]:
    """Which blocks of `BLOCK` voxels a side of another grid lie within `margin_mm` of the lungs."""
    far_mm = ndimage.distance_transform_edt(~lungs.data, sampling=lungs.spacing_mm)
    near = Volume((far_mm <= margin_mm).astype(np.uint8), lungs.affine)
    fine = resample_onto(near, grid.shape, grid.affine, order=0, fill=0).data
    fine = np.pad(fine, [(0, -n % BLOCK) for n in fine.shape])
    x, y, z = (n // BLOCK for n in fine.shape)
    return np.asarray(fine.reshape(x, BLOCK, y, BLOCK, z, BLOCK).any(axis=(1, 3, 5)))


def _air_in_body(hu: NDArray[Any], voxel_mm3: float) -> NDArray[np.bool_] | None:
    """Lungs of a coarse CT, or None where too little is found to trust."""
    tissue = ndimage.binary_opening(hu > AIR_HU)
    labels, count = ndimage.label(tissue)
    if count == 0:
        return None
    body = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    filled = np.stack([_filled(cut) for cut in np.moveaxis(body, 2, 0)], axis=2)
    labels, count = ndimage.label(filled & (hu <= AIR_HU))
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if sizes.sum() * voxel_mm3 < LUNG_VOLUME_MM3:
        return None
    lungs: NDArray[np.bool_] = (sizes >= 0.1 * sizes.max())[labels]
    return lungs


def _filled(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """An axial slice of the body with its holes; a lung that the field of view cuts is one too."""
    closed = body.copy()
    for rim in (closed[0], closed[-1], closed[:, 0], closed[:, -1]):
        tissue = np.flatnonzero(rim)
        if len(tissue):
            rim[tissue[0] : tissue[-1] + 1] = True
    return np.asarray(ndimage.binary_fill_holes(closed))
