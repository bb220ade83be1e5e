"""Resampling from a scan's grid to the prepared one: axes, spacing, box; images and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.spaces import vox2out_vox
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.io.grid import MAX_VOXELS, SHEAR_DEGREES, Grid, Shape, shear_degrees
from semilung.data.io.resample import resample_onto
from semilung.data.io.volume import Volume, to_ras
from semilung.types import UserError

MARGIN = 2
"""Voxels around an instance that is resampled by itself; linear interpolation needs one."""


def at_spacing(grid: Grid | Volume, spacing_mm: tuple[float, float, float]) -> Grid:
    """Return the grid of another spacing that covers the same box, outer corner to outer corner.

    Raises:
        UserError: It would have more than `MAX_VOXELS`.

    Example:
        >>> grid = at_spacing(Grid((4, 4, 4), np.diag([2.0, 2.0, 2.0, 1.0])), (1.0, 1.0, 4.0))
        >>> grid.shape, grid.affine[:3, 3].tolist()
        ((8, 8, 2), [-0.5, -0.5, 1.0])
    """
    old = np.linalg.norm(grid.affine[:3, :3], axis=0)
    new = np.asarray(spacing_mm, np.float64)
    x, y, z = (int(n) for n in np.maximum(1, np.rint(old * grid.shape / new)))
    if x * y * z > MAX_VOXELS:
        raise UserError(
            f"voxels of {old.round(4).tolist()} mm at {new.tolist()} mm make {x} x {y} x {z} "
            f"voxels; the limit is {MAX_VOXELS}. Repair the header, or raise spacing_mm"
        )
    affine = grid.affine.copy()
    affine[:3, :3] *= new / old
    # Continuous index -0.5 is the outer corner in both grids.
    affine[:3, 3] += (grid.affine[:3, :3] - affine[:3, :3]) @ np.full(3, -0.5)
    return Grid((x, y, z), affine)


def straightened(volume: Volume, *, fill: float) -> Volume:
    """Resample a sheared CT onto a grid along the patient's axes; return any other unchanged.

    Surface distances, smoothing, rotations and zooms in mm assume right-angled axes. The grid
    covers the volume, and its voxels have the edges of `spacing_of`; interpolation is linear.

    Args:
        volume: CT in HU.
        fill: Value of the grid's corners, which the sheared volume does not reach.

    Raises:
        UserError: The grid would have more than `MAX_VOXELS`.
    """
    if shear_degrees(volume.affine) <= SHEAR_DEGREES:
        return volume
    (x, y, z), affine = vox2out_vox((volume.shape, volume.affine), volume.spacing_mm)
    if x * y * z > MAX_VOXELS:
        raise UserError(
            f"a sheared volume of {volume.shape} voxels makes {x} x {y} x {z} at right angles; the "
            f"limit is {MAX_VOXELS}. Repair the header"
        )
    return resample_onto(volume, (x, y, z), affine, order=1, fill=fill)


def boxed(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """Return the part of a volume within `box`, with its affine; no resampling."""
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [*(cut.start for cut in box), 1.0])[:3]
    return Volume(volume.data[box], affine)


def image_onto(image: Volume, grid: Grid, *, fill: float) -> Volume:
    """Resample a CT onto another grid along its axes, linearly, to float32.

    Along an axis that shrinks by `f` a Gaussian of standard deviation `(f - 1) / 2` voxels is
    applied first, against aliasing.
    """
    shrink = np.linalg.norm(grid.affine[:3, :3], axis=0) / image.spacing_mm
    sigma = np.maximum(0.0, (shrink - 1) / 2)
    data = image.data.astype(np.float32, copy=False)
    if (sigma > 0.05).any():
        data = ndimage.gaussian_filter(data, sigma, mode="nearest", truncate=3.0)
    return resample_onto(Volume(data, image.affine), grid.shape, grid.affine, order=1, fill=fill)


def instances_onto(mask: Volume, grid: Grid) -> NDArray[np.uint8]:
    """Resample a map of instances onto another grid: each one linearly, thresholded at one half.

    That preserves volumes and outlines better than the nearest voxel does, and loses no instance
    within the grid: one that stays below one half everywhere keeps its highest voxel, and one that
    lies between voxels takes the nearest.
    """
    out = np.zeros(grid.shape, np.uint8)
    for label, box in _instances(mask.data):
        part = _part(mask, label, box)
        low, size = _target_box(part, grid)
        if min(size) < 1:
            continue
        affine = grid.affine.copy()
        affine[:3, 3] = (grid.affine @ [*low, 1.0])[:3]
        share = resample_onto(part, size, affine, order=1, fill=0.0).data
        if share.max() > 0:
            cut = tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))
            out[cut][share >= min(0.5, float(share.max()))] = label
        elif (at := _nearest(part, grid)) is not None:
            out[at] = label
    return out


def _instances(data: NDArray[Any]) -> list[tuple[int, tuple[slice, ...]]]:
    """Return the labels present with their boxes, 255 first, so that nodules overwrite it."""
    boxes = enumerate(ndimage.find_objects(data.astype(np.int32)), start=1)
    present = [(label, box) for label, box in boxes if box is not None]
    return sorted(present, key=lambda item: item[0] != 255)


def _part(mask: Volume, label: int, box: tuple[slice, ...]) -> Volume:
    """Return one instance as 0 and 1, padded by a margin of zeros, with the padded affine."""
    data = np.pad((mask.data[box] == label).astype(np.float32), MARGIN)
    affine = mask.affine.copy()
    affine[:3, 3] = (mask.affine @ [*(cut.start - MARGIN for cut in box), 1.0])[:3]
    return Volume(data, affine)


def _nearest(part: Volume, grid: Grid) -> tuple[int, ...] | None:
    """Return the grid's voxel nearest to a part's centroid; None where that lies outside.

    One voxel of tolerance: a coarse grid may end half a voxel before the fine one does.
    """
    centroid = np.argwhere(part.data > 0).mean(axis=0)
    at = np.rint((np.linalg.inv(grid.affine) @ part.affine @ [*centroid, 1.0])[:3]).astype(int)
    if ((at < -1) | (at > grid.shape)).any():
        return None
    return tuple(np.clip(at, 0, np.array(grid.shape) - 1).tolist())


def _target_box(part: Volume, grid: Grid) -> tuple[Shape, Shape]:
    """Return first voxel and size of the box of the target grid that a part can touch."""
    matrix = np.linalg.inv(grid.affine) @ part.affine
    ends = np.array(np.meshgrid(*((0, n - 1) for n in part.shape), [1])).reshape(4, -1)
    at = (matrix @ ends)[:3]
    low = np.clip(np.floor(at.min(axis=1)).astype(int), 0, grid.shape)
    high = np.clip(np.ceil(at.max(axis=1)).astype(int) + 1, 0, grid.shape)
    first, size = [int(n) for n in low], [int(n) for n in high - low]
    return (first[0], first[1], first[2]), (size[0], size[1], size[2])


def classes_onto(labels: Volume, grid: Grid) -> NDArray[np.uint8]:
    """Resample a map of classes (anatomy) onto another grid by the nearest voxel."""
    # Axes are permuted first: sampling along them is several times as fast.
    nearest = resample_onto(to_ras(labels), grid.shape, grid.affine, order=0, fill=0)
    classes: NDArray[np.uint8] = nearest.data.astype(np.uint8)
    return classes
