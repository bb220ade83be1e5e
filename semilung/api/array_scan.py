"""A scan that is given as an array with its affine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semilung.data import Volume
from semilung.data.io.grid import checked_grid
from semilung.types import UserError

ARRAY = Path("the array")
"""Stands for the file in messages."""


def volume_of_array(scan: object, affine: ArrayLike | None, *, series: str | None = None) -> Volume:
    """Return an array with its affine as a volume, whose grid has been checked.

    Args:
        scan: `(X, Y, Z)` in HU, or a volume.
        affine: `(4, 4)`, voxel indices to RAS+ mm; None for a volume, which has its own.
        series: Must be None: an array has no series.

    Raises:
        UserError: It is no 3D array of numbers, the affine is missing, has another shape, or is
            none of a CT, or a series is named.
    """
    if series is not None:
        raise UserError("a series is chosen in a folder of DICOM slices; leave it out of an array")
    if isinstance(scan, Volume):
        if affine is not None:
            raise UserError("a Volume has an affine of its own; give affine with an array alone")
        return volume_of_array(scan.data, scan.affine)
    if not isinstance(scan, np.ndarray) or scan.dtype.kind not in "iufb":
        kind = getattr(scan, "dtype", type(scan).__name__)
        raise UserError(
            f"a scan is the path of a file or folder, a Volume, or a numpy array of numbers with "
            f"its affine; got {kind}"
        )
    if scan.ndim != 3:
        raise UserError(f"the array must be (X, Y, Z), got shape {scan.shape}; give one volume")
    if affine is None:
        raise UserError(
            "an array needs its affine, voxel indices to RAS+ mm: predict(array, affine), where "
            "nibabel has image.affine"
        )
    return Volume(scan, checked_grid(ARRAY, scan.shape, _matrix(affine)).affine)


def _matrix(affine: ArrayLike) -> NDArray[np.float64]:
    try:
        matrix = np.array(affine, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"the affine is a (4, 4) matrix of numbers, got {affine!r:.100}") from error
    if matrix.shape != (4, 4):
        raise UserError(f"the affine is a (4, 4) matrix, got shape {matrix.shape}")
    if not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise UserError(
            f"the affine's last row must be 0 0 0 1, got {matrix[3].tolist()}; is it transposed?"
        )
    return matrix
