"""Irregular shapes of nodules: stretched, rotated, lobulated, sometimes spiculated balls."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from semilung.data.phantom.canvas import CubeGrid, Floats, Point

SPICULE_SHARPNESS = 40.0

SUBSAMPLES = 3
"""Sample points of a voxel along each axis, to estimate its share inside a shape."""


@dataclass(frozen=True)
class Shape:
    """A star-shaped body with the volume of the unit ball.

    A point p is inside where `|q| <= R(q / |q|)`, q = stretch p, and

        R(n) = c (1 + sum_j heights_j exp(sharpness_j (n . bumps_j - 1)))

    Attributes:
        stretch: `(3, 3)`, determinant 1: rotates and stretches the ball to an ellipsoid.
        bumps: `(m, 3)` unit vectors to the lobes (blunt) and spicules (sharp).
        heights: `(m,)`, relative to the radius; negative ones are notches.
        sharpness: `(m,)`.
    """

    stretch: NDArray[np.float64]
    bumps: NDArray[np.float64]
    heights: NDArray[np.float64]
    sharpness: NDArray[np.float64]

    @classmethod
    def ball(cls) -> Shape:
        """Return the unit ball."""
        return cls(np.eye(3), np.zeros((0, 3)), np.zeros(0), np.zeros(0))

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Shape:
        """Draw a random shape: axes differ by up to half, 5 lobes, spicules in one of four."""
        lengths = rng.uniform(0.8, 1.2, 3)
        lengths /= np.prod(lengths) ** (1 / 3)
        spicules = int(rng.integers(5, 10)) if rng.random() < 0.25 else 0
        bumps = rng.standard_normal((5 + spicules, 3))
        return cls(
            stretch=np.diag(1 / lengths) @ Rotation.random(rng=rng).as_matrix(),
            bumps=bumps / np.linalg.norm(bumps, axis=1, keepdims=True),
            heights=np.r_[rng.uniform(-0.12, 0.25, 5), rng.uniform(0.3, 0.6, spicules)],
            sharpness=np.r_[np.full(5, 4.0), np.full(spicules, SPICULE_SHARPNESS)],
        )

    @property
    def spiculated(self) -> bool:
        """Whether any bump is sharp."""
        return bool((self.sharpness >= SPICULE_SHARPNESS).any())

    def radius(self, directions: Floats) -> Floats:
        """Return R in directions `(..., 3)`, unit vectors after stretching."""
        radius: Floats = self._bumpy(directions) * np.float32(self._volume_factor())
        return radius

    def reach(self) -> float:
        """Return an upper bound of the distance from the centre to the surface."""
        largest = float(self.radius(_sphere()).max())
        return 1.05 * largest / float(np.linalg.svd(self.stretch)[1].min())

    def _bumpy(self, directions: Floats) -> Floats:
        radius = np.ones(directions.shape[:-1], np.float32)
        for bump, height, sharpness in zip(self.bumps, self.heights, self.sharpness, strict=True):
            cosine = directions @ bump.astype(np.float32)
            radius += np.float32(height) * np.exp(np.float32(sharpness) * (cosine - 1))
        return radius

    def _volume_factor(self) -> float:
        """Return c = mean(R^3)^(-1/3), because the body's volume is 4/3 pi mean(R^3)."""
        return float(np.mean(self._bumpy(_sphere()) ** 3) ** (-1 / 3))


def _sphere(count: int = 4000) -> Floats:
    """Return evenly spread directions `(count, 3)`, by the golden angle."""
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (1 + 5**0.5) * np.arange(count)
    side = np.sqrt(1 - z * z)
    return np.stack([side * np.cos(turn), side * np.sin(turn), z], axis=1).astype(np.float32)


def shape_occupancy(
    grid: CubeGrid, shape: Shape, centre_mm: Point, radius_mm: float
) -> tuple[tuple[slice, slice, slice], Floats]:
    """Return the box around a shape scaled to `radius_mm`, and the share of its voxels inside."""
    reach = shape.reach() * radius_mm + grid.spacing_mm
    box = grid.box(centre_mm - reach, centre_mm + reach)
    axes = [grid.axis[s] - c for s, c in zip(box, centre_mm.astype(np.float32), strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) / np.float32(radius_mm)
    step = grid.spacing_mm / radius_mm / SUBSAMPLES
    inside = np.zeros(points.shape[:-1], np.float32)
    for offset in product(np.arange(SUBSAMPLES) - (SUBSAMPLES - 1) / 2, repeat=3):
        moved = points + (np.array(offset) * step).astype(np.float32)
        moved = moved @ shape.stretch.T.astype(np.float32)
        length = np.maximum(np.linalg.norm(moved, axis=-1), np.float32(1e-6))
        inside += length <= shape.radius(moved / length[..., None])
    return box, inside / np.float32(SUBSAMPLES**3)
