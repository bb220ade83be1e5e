"""What can be wrong with voxels: each test returns the first issue, or None where all is well."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

WHOLE = 1e-3
"""How far from a whole number a label may lie: what float arithmetic and compression do to one."""


class Issue(NamedTuple):
    """An error, which has to be fixed, or a warning; the message says what was found."""

    severity: Literal["error", "warning"]
    message: str


def finite_issue(data: NDArray[Any]) -> Issue | None:
    """Voxels that are no real number each, NaN, or infinite."""
    if not np.issubdtype(data.dtype, np.number) or np.issubdtype(data.dtype, np.complexfloating):
        msg = f"voxels are of type {data.dtype}; a volume here has one real number a voxel"
        return Issue("error", msg)
    if np.issubdtype(data.dtype, np.inexact) and not np.isfinite(data).all():
        count = int(data.size - np.isfinite(data).sum())
        return Issue("error", f"{count} voxels are NaN or infinite; convert the scan again")
    return None


def label_issue(data: NDArray[Any]) -> Issue | None:
    """Labels that are not whole numbers (within `WHOLE`) from 0 to 255."""
    if (issue := finite_issue(data)) is not None:
        return issue
    if np.issubdtype(data.dtype, np.floating):
        off = np.abs(data - np.rint(data)) > WHOLE
        if off.any():
            # numpy's str has as many digits as tell the value from its neighbours
            msg = f"labels must be whole numbers, found {data[off].flat[0]!s}; threshold the mask"
            return Issue("error", msg)
    low, high = int(np.rint(data.min())), int(np.rint(data.max()))
    if low < 0 or high > 255:
        msg = f"labels run from {low} to {high}; known are 0, 1 to 254 and 255 (ignore)"
        return Issue("error", msg)
    return None


def whole_labels(data: NDArray[Any]) -> NDArray[np.uint8]:
    """Labels without `label_issue` as the whole numbers that they are close to."""
    rounded = np.rint(data) if np.issubdtype(data.dtype, np.floating) else data
    return rounded.astype(np.uint8)
