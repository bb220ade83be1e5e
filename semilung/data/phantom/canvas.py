"""The phantom's grid, partial-volume occupancies, and the canvas for painting tissues."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semilung.data.anatomy.classes import ANATOMY

Floats: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.uint8]
Point: TypeAlias = NDArray[np.float64]

REFERENCE_FOV_MM = 192.0
"""Field of view of the sizes written in the code; for others the anatomy is scaled."""


@dataclass(frozen=True)
class CubeGrid:
    """A cube of `size`^3 voxels of `spacing_mm`, centred on the origin of RAS millimetres.

    Example:
        >>> CubeGrid(size=4, spacing_mm=2.0).axis.tolist()
        [-3.0, -1.0, 1.0, 3.0]
    """

    size: int
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size in voxels."""
        return (self.size, self.size, self.size)

    @property
    def scale(self) -> float:
        """Scale of the anatomy relative to the reference field of view."""
        return self.size * self.spacing_mm / REFERENCE_FOV_MM

    @cached_property
    def axis(self) -> Floats:
        """Voxel centres in mm along any axis."""
        steps = np.arange(self.size) - (self.size - 1) / 2
        return (steps * self.spacing_mm).astype(np.float32)

    def coordinates(self) -> Floats:
        """Return the voxel centres in mm, `(3, X, Y, Z)`."""
        return np.stack(np.meshgrid(self.axis, self.axis, self.axis, indexing="ij"))

    def index(self, point_mm: Point) -> tuple[int, int, int]:
        """Return the voxel that holds, or is nearest to, a point."""
        steps = np.rint(point_mm / self.spacing_mm + (self.size - 1) / 2)
        x, y, z = np.clip(steps, 0, self.size - 1).astype(int).tolist()
        return (x, y, z)

    def box(self, low_mm: Point, high_mm: Point) -> tuple[slice, slice, slice]:
        """Return the voxels with centres between two corners; empty slices beyond the grid."""
        middle = (self.size - 1) / 2
        low = np.clip(np.ceil(low_mm / self.spacing_mm + middle), 0, self.size).astype(int)
        high = np.clip(np.floor(high_mm / self.spacing_mm + middle) + 1, 0, self.size).astype(int)
        x, y, z = (slice(a, max(a, b)) for a, b in zip(low.tolist(), high.tolist(), strict=True))
        return (x, y, z)

    def smooth_field(self, rng: np.random.Generator, length: float) -> Floats:
        """Draw a Gaussian random field, N(0, 1), correlated over `length` reference mm.

        White noise on a coarse lattice is interpolated by separable Gaussian weights; rows of unit
        norm keep the variance at 1.
        """
        reach = REFERENCE_FOV_MM / 2 + length
        nodes = np.linspace(-reach, reach, max(4, round(4 * reach / length)))
        weights = np.exp(-(((self.axis[:, None] / self.scale - nodes) / (0.7 * length)) ** 2))
        weights = (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
        field = rng.standard_normal((len(nodes),) * 3, dtype=np.float32)
        for _ in range(3):  # Each pass interpolates the last axis and moves it to the front.
            field = np.moveaxis(field @ weights.T, -1, 0)
        return np.ascontiguousarray(field)


def surface_distance(level: Floats, spacing_mm: float) -> Floats:
    """Return the signed distance in mm to the surface `level = 1`, to first order; inside negative.

    d = (level - 1) / |grad level|
    """
    x, y, z = (np.gradient(level, spacing_mm, axis=axis) for axis in range(3))
    distance: Floats = (level - 1) / np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(1e-3))
    return distance


def occupancy(distance_mm: Floats, spacing_mm: float) -> Floats:
    """Return the share of a voxel inside a surface: `clip(1/2 - d / spacing, 0, 1)`.

    Example:
        >>> occupancy(np.array([-2.0, 0.0, 0.5], np.float32), 2.0).tolist()
        [1.0, 0.5, 0.25]
    """
    inside: Floats = np.clip(0.5 - distance_mm / np.float32(spacing_mm), 0, 1)
    return inside


def sheet_occupancy(distance_mm: Floats, thickness_mm: float, spacing_mm: float) -> Floats:
    """Return the share of a voxel inside a sheet around `distance_mm = 0`, also a thinner one.

    Example:
        >>> sheet_occupancy(np.array([0.0, 2.0], np.float32), 0.5, 1.0).tolist()
        [0.5, 0.0]
    """
    half = max(thickness_mm, spacing_mm) / 2
    share = np.float32(min(1, thickness_mm / spacing_mm))
    sheet: Floats = share * occupancy(np.abs(distance_mm) - np.float32(half), spacing_mm)
    return sheet


def smooth_max(a: Floats, b: Floats, width_mm: float) -> Floats:
    """Return the maximum of two distances, with the edge between them rounded over `width_mm`."""
    blend = np.maximum(width_mm - np.abs(a - b), 0)
    rounded: Floats = np.maximum(a, b) + blend * blend / np.float32(4 * width_mm)
    return rounded


class Canvas:
    """A volume in HU and its anatomy labels, painted from the outside in."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.hu: Floats = np.full(shape, -1000, np.float32)
        self.anatomy: Labels = np.full(shape, ANATOMY["outside_air"], np.uint8)

    def paint(self, share: Floats, hu: float | Floats, tissue: str) -> None:
        """Mix in `share` of a tissue of `hu`; voxels of one half or more get its label."""
        self.hu += share * (hu - self.hu)
        self.anatomy[share >= 0.5] = ANATOMY[tissue]
