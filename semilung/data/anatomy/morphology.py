"""Binary morphology with balls in millimetres, and connected components."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask: TypeAlias = NDArray[np.bool_]
Spacing: TypeAlias = tuple[float, float, float]

FACES = ndimage.generate_binary_structure(3, 1)
CORNERS = ndimage.generate_binary_structure(3, 3)
AXIAL = np.zeros((3, 3, 3), bool)
"""Neighbours within an axial slice, for components of each slice by itself."""
AXIAL[:, 1, 1] = AXIAL[1, :, 1] = True


def dilated(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Return every voxel within `radius_mm` of the mask."""
    box = box_of(mask, radius_mm, spacing_mm)
    out = np.zeros_like(mask)
    if box is not None:
        out[box] = _distance(~mask[box], spacing_mm) <= radius_mm
    return out


def eroded(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Return the voxels further than `radius_mm` from the background; the mask continues outside.

    Example:
        >>> row = np.ones((5, 1, 1), bool)
        >>> row[0] = False
        >>> eroded(row, 1.0, (1.0, 1.0, 1.0)).ravel().tolist()
        [False, False, True, True, True]
    """
    box = box_of(mask, 2 * max(spacing_mm), spacing_mm)
    out = np.zeros_like(mask)
    if box is not None:
        part = mask[box]
        out[box] = part if part.all() else _distance(part, spacing_mm) > radius_mm
    return out


def opened(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Return the part of the mask covered by balls of `radius_mm` within it."""
    return dilated(eroded(mask, radius_mm, spacing_mm), radius_mm, spacing_mm) & mask


def closed(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Fill every gap that a ball of `radius_mm` does not enter; the mask continues outside."""
    box = box_of(mask, radius_mm, spacing_mm)
    if box is None:
        return mask.copy()
    margin = [int(radius_mm / s) + 2 for s in spacing_mm]
    part = np.pad(mask[box], [(m, m) for m in margin])
    for axis, (cut, m) in enumerate(zip(box, margin, strict=True)):
        # At a border of the grid the mask is replicated outwards.
        ends = np.moveaxis(part, axis, 0)
        if cut.start == 0:
            ends[:m] = ends[m]
        if cut.stop == mask.shape[axis]:
            ends[-m:] = ends[-m - 1]
    grown = _distance(~part, spacing_mm) <= radius_mm
    part = grown if grown.all() else _distance(grown, spacing_mm) > radius_mm
    out = mask.copy()
    inner = tuple(slice(m, -m) for m in margin)
    out[box] |= part[inner]
    return out


def box_of(mask: Mask, margin_mm: float, spacing_mm: Spacing) -> tuple[slice, ...] | None:
    """Return the box around a mask, with a margin, within the grid; None for an empty mask."""
    boxes = ndimage.find_objects(mask.astype(np.int8))
    if not boxes:
        return None
    margin = [int(margin_mm / s) + 1 for s in spacing_mm]
    return tuple(
        slice(max(0, cut.start - m), min(n, cut.stop + m))
        for cut, m, n in zip(boxes[0], margin, mask.shape, strict=True)
    )


def components(mask: Mask, structure: Mask = FACES) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Label components from 1 on, and count the voxels of each (0 at index 0)."""
    numbered, count = ndimage.label(mask, structure)
    labels: NDArray[np.int32] = numbered.astype(np.int32, copy=False)
    sizes = np.bincount(labels.ravel(), minlength=count + 1).astype(np.int64, copy=False)
    sizes[0] = 0
    return labels, sizes


def at_least(mask: Mask, voxels: float, structure: Mask = FACES) -> Mask:
    """Return the components of at least `voxels` voxels."""
    labels, sizes = components(mask, structure)
    return picked(labels, sizes >= max(1.0, voxels))


def picked(labels: NDArray[Any], chosen: NDArray[np.bool_]) -> Mask:
    """Return the components whose number is chosen."""
    chosen = chosen.copy()
    chosen[0] = False
    out: Mask = chosen[labels]
    return out


def filled_slices(mask: Mask) -> Mask:
    """Fill the holes of each axial slice."""
    labels, count = ndimage.label(~mask, AXIAL)
    rim = np.concatenate([labels[[0, -1]].ravel(), labels[:, [0, -1]].ravel()])
    hole = np.ones(count + 1, bool)
    hole[rim] = False
    return mask | picked(labels, hole)


def medians(values: NDArray[Any], labels: NDArray[np.int32], chosen: NDArray[Any]) -> list[float]:
    """Return the median of the values in each chosen component."""
    return [float(np.median(values[labels == number])) for number in chosen]


def _distance(mask: Mask, spacing_mm: Spacing) -> NDArray[np.float64]:
    """Return the distance of each voxel to the background; infinite if there is none."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    return distance
