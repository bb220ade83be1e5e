"""Voxels with their place in the patient, as the readers hand them on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Voxels(Protocol):
    """Voxels that have been weighed and not read yet, and the files that hold them."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def files(self) -> tuple[Path, ...]: ...  # noqa: D102
    def voxels(self) -> NDArray[Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Placed:
    """An opened volume: stored voxels and the `(4, 4)` `affine` that takes indices to RAS+ mm."""

    stored: Voxels
    affine: NDArray[np.float64]

    def voxels(self) -> NDArray[Any]:
        """All voxels; errors as the format's own."""
        return self.stored.voxels()


def lps_affine(axes_mm: NDArray[np.float64], origin_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """The RAS+ affine of a grid whose axis `k` steps by `axes_mm[k]`, both given in LPS+ mm.

    Example:
        >>> lps_affine(np.diag([0.7, 0.7, 2.0]), np.array([10.0, 20.0, 30.0]))[:3].tolist()
        [[-0.7, 0.0, 0.0, -10.0], [0.0, -0.7, 0.0, -20.0], [0.0, 0.0, 2.0, 30.0]]
    """
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes_mm.T, origin_mm
    return _TO_RAS @ affine + 0.0  # which turns -0 into 0
