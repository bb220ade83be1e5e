"""Comparison of voxel grids: whether two volumes share one, and reorientation to RAS+."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from semilung.data.io.grid import Grid

if TYPE_CHECKING:
    from semilung.data.io.volume import Volume


def same_grid(a: Grid | Volume, b: Grid | Volume) -> bool:
    """Return whether two volumes have the same voxels, in any axis order and direction.

    Shapes must be equal, and corners agree within a tenth of a voxel.
    """
    return _coincide(a, b) or _coincide(ras_grid(a), ras_grid(b))


def is_part(part: Grid | Volume, whole: Grid | Volume) -> bool:
    """Return whether the voxels of `part` are a box of those of `whole`, in any axis order."""
    part, whole = ras_grid(part), ras_grid(whole)
    start = np.rint((np.linalg.inv(whole.affine) @ part.affine[:, 3])[:3]).astype(int)
    if (start < 0).any() or (start + part.shape > whole.shape).any():
        return False
    affine = whole.affine.copy()
    affine[:3, 3] = (whole.affine @ [*start, 1])[:3]
    return _coincide(part, Grid(part.shape, affine))


def ras_grid(grid: Grid | Volume) -> Grid:
    """Return the grid with its axes permuted and flipped to run nearest to RAS+."""
    orientation = nib.orientations.io_orientation(grid.affine)
    x, y, z = (grid.shape[k] for k in np.argsort(orientation[:, 0]))
    affine = grid.affine @ nib.orientations.inv_ornt_aff(orientation, grid.shape)
    return Grid((x, y, z), affine)


def _coincide(a: Grid | Volume, b: Grid | Volume) -> bool:
    if a.shape != b.shape:
        return False
    ends = np.array(np.meshgrid(*((0, n - 1) for n in a.shape), [1])).reshape(4, -1)
    distance_mm = np.linalg.norm((a.affine - b.affine) @ ends, axis=0).max()
    voxel_mm = min(np.linalg.norm(a.affine[:3, :3], axis=0))
    return bool(distance_mm <= 0.1 * voxel_mm)
