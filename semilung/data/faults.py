"""What can be wrong with voxels: each test returns the message, or None where all is well."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PLAUSIBLE_HU = (-5000.0, 40000.0)
"""Air is -1000; padding down to -3024 and metal up to 30000 are met in practice."""

NARROW_HU = 50.0
"""Lung and the vessels in it span hundreds of HU; what spans less was normalised."""


def finite_fault(data: NDArray[Any]) -> str | None:
    """Voxels that are no real number each, NaN, or infinite."""
    if not np.issubdtype(data.dtype, np.number) or np.issubdtype(data.dtype, np.complexfloating):
        return f"voxels are of type {data.dtype}; a volume here has one real number a voxel"
    if np.issubdtype(data.dtype, np.inexact) and not np.isfinite(data).all():
        count = int(data.size - np.isfinite(data).sum())
        return f"{count} voxels are NaN or infinite; convert the scan again"
    return None


def intensity_fault(data: NDArray[Any]) -> str | None:
    """Intensities that are no Hounsfield units of a chest, which always holds air below 0 HU."""
    fault = finite_fault(data)
    if fault is not None:
        return fault
    low, high = float(data.min()), float(data.max())
    found = f"values run from {low:g} to {high:g}"
    if low == high:
        return f"{found}: the volume is constant"
    if low < PLAUSIBLE_HU[0] or high > PLAUSIBLE_HU[1]:
        return f"{found}: beyond HU; is a rescale slope or intercept wrong?"
    if high - low < NARROW_HU:
        return f"{found}: normalised, not HU; export the original intensities"
    if low >= 0:
        return f"{found}: no air, not HU; subtract the offset (often 1024) of unsigned storage"
    return None


def label_fault(data: NDArray[Any]) -> str | None:
    """Labels that are not whole numbers from 0 to 255."""
    fault = finite_fault(data)
    if fault is not None:
        return fault
    if np.issubdtype(data.dtype, np.floating) and (data != np.rint(data)).any():
        value = float(data[data != np.rint(data)].flat[0])
        return f"labels must be whole numbers, found {value:g}; threshold it first"
    low, high = int(data.min()), int(data.max())
    if low < 0 or high > 255:
        return f"labels run from {low} to {high}; known are 0, 1 to 254 and 255 (ignore)"
    return None
