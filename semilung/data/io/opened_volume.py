"""An opened volume, as the reader of each format returns it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.grid import Affine, Grid

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""World coordinates in LPS+ mm to RAS+ mm, and back: it is its own inverse."""


@dataclass(frozen=True)
class OpenedVolume:
    """A volume whose header has been read and checked; its voxels are read on demand.

    Attributes:
        grid: Shape and affine, checked.
        files: The files that hold the voxels.
        read: Reads all voxels, in the shape of the header; raises the format's own errors.
    """

    grid: Grid
    files: tuple[Path, ...]
    read: Callable[[], NDArray[Any]]


def lps_affine(axes_mm: NDArray[np.float64], origin_mm: NDArray[np.float64]) -> Affine:
    """Return the RAS+ affine of a grid whose axis `k` steps by `axes_mm[k]`, all in LPS+ mm.

    Example:
        >>> lps_affine(np.diag([0.7, 0.7, 2.0]), np.array([10.0, 20.0, 30.0]))[:3].tolist()
        [[-0.7, 0.0, 0.0, -10.0], [0.0, -0.7, 0.0, -20.0], [0.0, 0.0, 2.0, 30.0]]
    """
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes_mm.T, origin_mm
    return LPS_TO_RAS @ affine + 0.0  # + 0.0 turns -0 into 0
