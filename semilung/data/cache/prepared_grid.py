"""From a scan's own grid to the prepared one: axes, spacing, box; images and label maps."""

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
"""Voxels kept around an instance when it is resampled on its own: linear weights reach one."""


def at_spacing(grid: Grid | Volume, spacing_mm: tuple[float, float, float]) -> Grid:
    """The grid of another spacing that covers the same box: the outer corners coincide.

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
        found = f"voxels of {old.round(4).tolist()} mm at {new.tolist()} mm make {x} x {y} x {z}"
        msg = f"{found} voxels; the limit is {MAX_VOXELS}. Repair the header, or raise spacing_mm"
        raise UserError(msg)
    affine = grid.affine.copy()
    affine[:3, :3] *= new / old
    # Continuous index -0.5 is the outer corner in both grids.
    affine[:3, 3] += (grid.affine[:3, :3] - affine[:3, :3]) @ np.full(3, -0.5)
    return Grid((x, y, z), affine)


def straightened(volume: Volume, *, fill: float) -> Volume:
    """A CT whose axes are sheared on a grid along the patient's axes, any other as it is.

    Surface distances, smoothing, rotations and zooms in mm all take axes to be at right angles.
    The grid covers the volume, and its voxels have the edges of `spacing_of`; linear.

    Args:
        volume: Of a tilted gantry, or not.
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
    """The part of a volume within `box`, its affine moved along; no resampling."""
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [*(cut.start for cut in box), 1.0])[:3]
    return Volume(volume.data[box], affine)


def image_onto(image: Volume, grid: Grid, *, fill: float) -> Volume:
    """A CT on another grid of its own axes: linear, after a Gaussian where the grid is coarser.

    Along an axis that shrinks by `f` the Gaussian's standard deviation is `(f - 1) / 2` voxels,
    so that noise and edges finer than the new voxels do not alias. Returns float32.
    """
    shrink = np.linalg.norm(grid.affine[:3, :3], axis=0) / image.spacing_mm
    sigma = np.maximum(0.0, (shrink - 1) / 2)
    data = image.data.astype(np.float32, copy=False)
    if (sigma > 0.05).any():
        data = ndimage.gaussian_filter(data, sigma, mode="nearest", truncate=3.0)
    return resample_onto(Volume(data, image.affine), grid.shape, grid.affine, order=1, fill=fill)


def instances_onto(mask: Volume, grid: Grid) -> NDArray[np.uint8]:
    """A map of instances on another grid: each one linear, then cut at one half.

    Volumes and outlines are kept better than by the nearest voxel, and no instance that lies in
    the grid is lost: one too small to reach one half anywhere keeps its strongest voxel, and one
    that lies between voxels becomes the nearest.
    """
    out = np.zeros(grid.shape, np.uint8)
    for label, found in _instances(mask.data):
        part = _part(mask, label, found)
        low, size = _reach(part, grid)
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
    """Labels present with their boxes, 255 first, so that nodules overwrite what is ignored."""
    boxes = enumerate(ndimage.find_objects(data.astype(np.int32)), start=1)
    present = [(label, box) for label, box in boxes if box is not None]
    return sorted(present, key=lambda item: item[0] != 255)


def _part(mask: Volume, label: int, found: tuple[slice, ...]) -> Volume:
    """One instance as 0 and 1, with a margin of zeros; its affine refers to the margin's corner."""
    data = np.pad((mask.data[found] == label).astype(np.float32), MARGIN)
    affine = mask.affine.copy()
    affine[:3, 3] = (mask.affine @ [*(cut.start - MARGIN for cut in found), 1.0])[:3]
    return Volume(data, affine)


def _nearest(part: Volume, grid: Grid) -> tuple[int, ...] | None:
    """The voxel of the grid nearest to a part's centroid; None where it lies beyond the grid.

    The rim counts: a coarse grid may end half a voxel before the fine one does.
    """
    centroid = np.argwhere(part.data > 0).mean(axis=0)
    at = np.rint((np.linalg.inv(grid.affine) @ part.affine @ [*centroid, 1.0])[:3]).astype(int)
    if ((at < -1) | (at > grid.shape)).any():
        return None
    return tuple(np.clip(at, 0, np.array(grid.shape) - 1).tolist())


def _reach(part: Volume, grid: Grid) -> tuple[Shape, Shape]:
    """First voxel and size of the box of the target grid that a part can touch."""
    matrix = np.linalg.inv(grid.affine) @ part.affine
    ends = np.array(np.meshgrid(*((0, n - 1) for n in part.shape), [1])).reshape(4, -1)
    at = (matrix @ ends)[:3]
    low = np.clip(np.floor(at.min(axis=1)).astype(int), 0, grid.shape)
    high = np.clip(np.ceil(at.max(axis=1)).astype(int) + 1, 0, grid.shape)
    first, size = [int(n) for n in low], [int(n) for n in high - low]
    return (first[0], first[1], first[2]), (size[0], size[1], size[2])


def classes_onto(labels: Volume, grid: Grid) -> NDArray[np.uint8]:
    """A map of classes (anatomy) on another grid by the nearest voxel."""
    # Axes are permuted first, because sampling along them is several times as fast.
    nearest = resample_onto(to_ras(labels), grid.shape, grid.affine, order=0, fill=0)
    classes: NDArray[np.uint8] = nearest.data.astype(np.uint8)
    return classes
