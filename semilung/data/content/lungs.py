"""Lungs by thresholds and components: coarse, for a crop box and to skip distant blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.io.grid import Grid, spacing_of
from semilung.data.io.resample import resample_onto
from semilung.data.io.volume import Volume

BOX_SPACING_MM = 3.0
CHEST_WIDTH_MM, CHEST_DEPTH_MM = 180.0, 120.0
LUNG_VOLUME_MM3 = 5e5
LUNG_SHARE = 0.05
"""Smallest share of lung in the body of a chest scan; bowel gas and sinuses take less."""

AIR_HU = -400.0
BLOCK = 8
"""Edge in voxels of the blocks in which a prepared volume records its lungs."""

FACES = ("left", "right", "back", "front", "bottom", "top")
"""Faces of a volume in RAS+, the lower and the upper end of each axis."""

CUT_CM2 = 10.0
"""Area of lung at a face of the volume from which the lungs count as cut."""

NO_LUNGS = (
    "no lungs were found, although the scan is as wide as a chest; "
    "is it another part of the body? It is used whole"
)


@dataclass(frozen=True, eq=False)
class LungSearch:
    """Result of a search for lungs.

    Attributes:
        lungs: Both lungs on a coarse grid (True where lung); None where none were found.
        lacking: Whether the volume is as wide as a chest and yet shows no chest.
    """

    lungs: Volume | None
    lacking: bool


def find_lungs(volume: Volume) -> LungSearch:
    """Find both lungs of a volume, and whether a scan of a chest's width lacks them.

    Lungs are air within the body: each axial slice is thresholded and the holes of the body are
    filled, also those that the image's edge cuts. Components of at least a tenth of the largest
    are kept, so that a collapsed lung is included and bowel gas is not. A trachea joined to them
    is included: the result errs on the large side. A volume narrower than a chest, or with less
    than 500 ml of lung, has none.

    A volume as wide as a chest lacks lungs where its body holds hardly any air. This asks for less
    than the 500 ml, which a few slices of a chest do not hold. Where lungs were found, the body is
    counted in their axial slices only, because a long scan holds little lung as a whole.

    Args:
        volume: CT in HU, in RAS+ (so that the last axis is axial).
    """
    edges_mm = sorted(np.multiply(volume.spacing_mm, volume.shape)[:2])
    if edges_mm[0] < CHEST_DEPTH_MM or edges_mm[1] < CHEST_WIDTH_MM:
        return LungSearch(None, lacking=False)
    coarse = coarse_volume(volume)
    body = _body(coarse.data)
    if body is None:  # the opening removes everything from two slices
        return LungSearch(None, lacking=coarse.shape[2] > 2)
    air = body & (coarse.data <= AIR_HU)
    data = None
    if edges_mm[0] >= CHEST_WIDTH_MM:
        data = _large_components(air, float(np.prod(coarse.spacing_mm)))
    lungs = None if data is None else Volume(data, coarse.affine)
    return LungSearch(lungs, lacking=_is_airless(air, body, data))


def lung_box(lungs: Volume, grid: Grid | Volume, margin_mm: float) -> tuple[slice, slice, slice]:
    """Return the box around lungs, `margin_mm` larger on every side and cut to the volume.

    Args:
        lungs: From a `LungSearch`.
        grid: Grid of the volume that was searched.
        margin_mm: Margin on every side.

    Returns:
        Slices into the volume.
    """
    spacing_mm = spacing_of(grid.affine)
    steps = np.rint(np.divide(lungs.spacing_mm, spacing_mm)).astype(int).tolist()
    coarse_box = ndimage.find_objects(lungs.data.astype(np.int8))[0]
    box = []
    for cut, n, s, mm in zip(coarse_box, grid.shape, steps, spacing_mm, strict=True):
        margin = int(np.ceil(margin_mm / mm))
        # A coarse voxel stands for the `s` fine ones around it.
        low, high = int(cut.start * s - s + 1), int(cut.stop * s)
        box.append(slice(max(0, low - margin), min(n, high + margin)))
    return (box[0], box[1], box[2])


def cut_faces(lungs: Volume) -> list[str]:
    """Return the faces of a volume, as `FACES` names them, at which its lungs are cut off.

    A trachea that leaves through the upper face takes less than `CUT_CM2` of it.

    Args:
        lungs: From a `LungSearch`, in RAS+.

    Example:
        >>> whole = np.zeros((20, 20, 20), bool)
        >>> whole[2:18, 2:18, :12] = True
        >>> cut_faces(Volume(whole, np.diag([3.0, 3.0, 3.0, 1.0])))
        ['bottom']
    """
    areas_cm2 = []
    for axis in range(3):
        voxel_cm2 = np.prod(np.delete(lungs.spacing_mm, axis)) / 100
        areas_cm2 += [np.take(lungs.data, end, axis).sum() * voxel_cm2 for end in (0, -1)]
    return [face for face, cm2 in zip(FACES, areas_cm2, strict=True) if cm2 > CUT_CM2]


def lung_blocks(lungs: Volume, grid: Grid | Volume, margin_mm: float) -> NDArray[np.bool_]:
    """Return the blocks (`BLOCK` voxels a side) of a grid within `margin_mm` of the lungs."""
    distance_mm = ndimage.distance_transform_edt(~lungs.data, sampling=lungs.spacing_mm)
    near = Volume((distance_mm <= margin_mm).astype(np.uint8), lungs.affine)
    fine = resample_onto(near, grid.shape, grid.affine, order=0, fill=0).data
    fine = np.pad(fine, [(0, -n % BLOCK) for n in fine.shape])
    x, y, z = (n // BLOCK for n in fine.shape)
    return np.asarray(fine.reshape(x, BLOCK, y, BLOCK, z, BLOCK).any(axis=(1, 3, 5)))


def coarse_volume(volume: Volume) -> Volume:
    """Return every n-th voxel, about `BOX_SPACING_MM` apart: the grid of a `LungSearch`."""
    step = np.maximum(1, np.rint(np.divide(BOX_SPACING_MM, volume.spacing_mm))).astype(int)
    data = volume.data[:: step[0], :: step[1], :: step[2]]
    return Volume(data, volume.affine @ np.diag([*step, 1.0]))


def _body(hu: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return the largest component of tissue, holes filled; None where there is no tissue."""
    tissue = ndimage.binary_opening(hu > AIR_HU)
    labels, count = ndimage.label(tissue)
    if count == 0:
        return None
    body = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return np.stack([_filled(cut) for cut in np.moveaxis(body, 2, 0)], axis=2)


def _large_components(air: NDArray[np.bool_], voxel_mm3: float) -> NDArray[np.bool_] | None:
    """Return the lungs among the air of a body; None where there is too little of it."""
    labels, count = ndimage.label(air)
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if sizes.sum() * voxel_mm3 < LUNG_VOLUME_MM3:
        return None
    lungs: NDArray[np.bool_] = (sizes >= 0.1 * sizes.max())[labels]
    return lungs


def _is_airless(
    air: NDArray[np.bool_], body: NDArray[np.bool_], lungs: NDArray[np.bool_] | None
) -> bool:
    """Return whether a body holds hardly any air, in the axial slices of lungs if there are any."""
    if lungs is not None:
        axial = lungs.any(axis=(0, 1))
        air, body = air[..., axial], body[..., axial]
    return int(np.count_nonzero(air)) < LUNG_SHARE * int(np.count_nonzero(body))


def _filled(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of an axial slice of the body, also lungs that the field of view cuts."""
    closed = body.copy()
    for rim in (closed[0], closed[-1], closed[:, 0], closed[:, -1]):
        tissue = np.flatnonzero(rim)
        if len(tissue):
            rim[tissue[0] : tissue[-1] + 1] = True
    return np.asarray(ndimage.binary_fill_holes(closed))
