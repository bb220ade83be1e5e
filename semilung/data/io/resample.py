"""Resampling of a volume onto another grid; all resampling goes through here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from semilung.data.io.grid import Affine, Shape
from semilung.data.io.volume import Volume


def resample_onto(
    volume: Volume, shape: Shape, affine: ArrayLike, *, order: int, fill: float
) -> Volume:
    """Sample `volume` at the voxel centres of another grid, in millimetres.

        out[i] = volume[inv(A_src) A_target i]

    Used for resampling, cropping, reorientation, and the way back to a scan's own grid.

    Args:
        volume: The source.
        shape: Size of the target grid in voxels.
        affine: `(4, 4)` voxel-to-mm of the target grid.
        order: 0 nearest (masks), 1 linear (images), up to 5.
        fill: Value beyond the volume, whose outermost voxels extend half a voxel past their centre.

    Returns:
        A volume of the same dtype (integers are rounded, not truncated).
    """
    target = np.asarray(affine, np.float64)
    matrix = np.linalg.inv(volume.affine) @ target
    # Spline orders on integers would truncate towards zero: sample in float32, round, cast back.
    exact = order == 0 or not np.issubdtype(volume.data.dtype, np.integer)
    source = volume.data if exact else volume.data.astype(np.float32)
    sampled = _affine_transform(source, matrix, shape, order)
    _fill_outside(sampled, matrix, volume.shape, fill)
    data = sampled if exact else np.rint(sampled).astype(volume.data.dtype)
    return Volume(data, target)


def _affine_transform(
    source: NDArray[Any], matrix: Affine, shape: Shape, order: int
) -> NDArray[Any]:
    """Call `scipy.ndimage.affine_transform`; a diagonal matrix takes its faster separable path."""
    linear, offset = np.round(matrix[:3, :3], 12), matrix[:3, 3]
    diagonal = np.diag(linear)
    arg = diagonal if np.array_equal(linear, np.diag(diagonal)) and (diagonal > 0).all() else linear
    sampled: NDArray[Any] = ndimage.affine_transform(
        source,
        arg,
        offset,
        output_shape=shape,
        order=order,  # type: ignore[call-overload]
        mode="nearest",
    )
    return sampled


def _fill_outside(data: NDArray[Any], matrix: Affine, source: Shape, fill: float) -> None:
    """Set voxels more than half a voxel beyond the source grid to `fill`, in place."""
    axes = np.ogrid[tuple(slice(0, n) for n in data.shape)]
    for row, size in zip(matrix[:3], source, strict=True):
        # Terms of weight zero are left out, so an axis-aligned grid costs a line and not a volume.
        at = row[3] + sum(w * axis for w, axis in zip(row, axes, strict=False) if abs(w) > 1e-9)
        outside = (at < -0.5 - 1e-6) | (at > size - 0.5 + 1e-6)
        if outside.any():
            data[np.broadcast_to(outside, data.shape)] = fill
