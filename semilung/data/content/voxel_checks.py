"""Checks of voxel values; each returns its first issue, or None."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

WHOLE = 1e-3
"""Tolerance of a label to a whole number, for float arithmetic and lossy compression."""


class Issue(NamedTuple):
    """An error, which has to be fixed, or a warning; with what is wrong and what to do."""

    severity: Literal["error", "warning"]
    message: str


def finite_issue(data: NDArray[Any]) -> Issue | None:
    """Report voxels that are not one real, finite number each."""
    if not np.issubdtype(data.dtype, np.number) or np.issubdtype(data.dtype, np.complexfloating):
        return Issue(
            "error",
            f"voxels are of type {data.dtype}, but one real number a voxel is required; convert it",
        )
    if np.issubdtype(data.dtype, np.inexact) and not np.isfinite(data).all():
        count = int(data.size - np.isfinite(data).sum())
        return Issue("error", f"{count} voxels are NaN or infinite; convert the scan again")
    return None


def label_issue(data: NDArray[Any]) -> Issue | None:
    """Report labels that are not whole numbers (within `WHOLE`) from 0 to 255."""
    if (issue := finite_issue(data)) is not None:
        return issue
    if np.issubdtype(data.dtype, np.floating):
        off = np.abs(data - np.rint(data)) > WHOLE
        if off.any():
            # numpy's str has as many digits as distinguish the value from its neighbours
            return Issue(
                "error",
                f"labels must be whole numbers, found {data[off].flat[0]!s}; threshold the mask",
            )
    low, high = int(np.rint(data.min())), int(np.rint(data.max()))
    if low < 0 or high > 255:
        return Issue(
            "error",
            f"labels run from {low} to {high}; allowed are 0, 1 to 254 and 255 (ignore)",
        )
    return None


def whole_labels(data: NDArray[Any]) -> NDArray[np.uint8]:
    """Round labels that passed `label_issue` to uint8."""
    rounded = np.rint(data) if np.issubdtype(data.dtype, np.floating) else data
    return rounded.astype(np.uint8)
