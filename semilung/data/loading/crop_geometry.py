"""Spatial augmentation of a crop: one transform for its image, labels and views."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from semilung.data.data_config import AugmentConfig
from semilung.data.io.grid import Shape


@dataclass(frozen=True, eq=False)
class Geometry:
    """Quarter turns and flips, which are exact, and optionally a small rotation and zoom.

    Attributes:
        size: Size of the crop in voxels.
        turns: Quarter turns `(k, axis, axis)`.
        flips: Axes that are mirrored.
        matrix: `(3, 3)`, from voxel offsets about the crop's centre after the rotation and zoom to
            those before it; None without them.
        zoom: Factor by which the matrix enlarges the content.
    """

    size: Shape
    turns: tuple[tuple[int, int, int], ...] = ()
    flips: tuple[int, ...] = ()
    matrix: NDArray[np.float64] | None = None
    zoom: float = 1.0

    @property
    def margin(self) -> Shape:
        """Voxels to read beyond the crop on either side, so that rotated corners hold image."""
        if self.matrix is None:
            return (0, 0, 0)
        half = (np.array(self.size) - 1) / 2
        x, y, z = np.maximum(0, np.ceil(np.abs(self.matrix) @ half - half - 1e-9)).astype(int)
        return (int(x), int(y), int(z))

    def __call__(self, data: NDArray[Any], *, order: int) -> NDArray[Any]:
        """Transform `(X + 2 mx, Y + 2 my, Z + 2 mz)` voxels, m the margin, into `size` ones.

        Args:
            data: Voxels with the margin.
            order: 1 for images (give floats), 0 for labels.
        """
        if self.matrix is not None:
            centre = (np.array(data.shape) - 1) / 2
            offset = centre - self.matrix @ ((np.array(self.size) - 1) / 2)
            data = ndimage.affine_transform(
                data,
                self.matrix,
                offset,
                output_shape=self.size,
                order=1 if order else 0,
                mode="nearest",
            )
        for k, a, b in self.turns:
            data = np.rot90(data, k, (a, b))
        return np.ascontiguousarray(np.flip(data, self.flips))

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move points as `__call__` moves voxels.

        Args:
            points: `(N, 3)` voxel indices within what was read, the margin included.

        Returns:
            `(N, 3)` voxel indices within the crop; points that are turned out of it lie outside.
        """
        moved = np.array(points, np.float64).reshape(-1, 3)
        if self.matrix is not None:
            half = (np.array(self.size) - 1) / 2
            moved = (moved - half - self.margin) @ np.linalg.inv(self.matrix).T + half
        shape = list(self.size)
        for k, a, b in self.turns:
            for _ in range(k):
                moved[:, [a, b]] = np.stack([shape[b] - 1 - moved[:, b], moved[:, a]], axis=1)
                shape[a], shape[b] = shape[b], shape[a]
        for axis in self.flips:
            moved[:, axis] = shape[axis] - 1 - moved[:, axis]
        return moved


def random_geometry(
    rng: np.random.Generator,
    config: AugmentConfig,
    size: Shape,
    spacing_mm: tuple[float, float, float],
    *,
    diameter_mm: float | None = None,
) -> Geometry:
    """Draw a transform; quarter turns only in planes whose axes agree in size and spacing.

    Args:
        rng: Source of randomness.
        config: Probabilities and magnitudes.
        size: Size of the crop in voxels.
        spacing_mm: Voxel size of the volume.
        diameter_mm: Diameter of the nodule that the crop is centred on, if any.
    """
    turns = []
    if config.quarter_turns:
        planes = [p for p in combinations(range(3), 2) if _square(p, size, spacing_mm)]
        turns = [(int(rng.integers(4)), a, b) for a, b in planes]
    flips = np.flatnonzero(rng.random(3) < 0.5).tolist() if config.flips else []
    if rng.random() >= config.affine_probability:
        return Geometry(size, tuple(turns), tuple(flips))
    zoom = _zoom(rng, config, diameter_mm)
    matrix = _rotation_and_zoom(rng, config, np.array(spacing_mm), zoom)
    return Geometry(size, tuple(turns), tuple(flips), matrix, zoom)


def _square(plane: tuple[int, int], size: Shape, spacing_mm: tuple[float, float, float]) -> bool:
    a, b = plane
    return size[a] == size[b] and abs(spacing_mm[a] / spacing_mm[b] - 1) < 0.01


def _zoom(rng: np.random.Generator, config: AugmentConfig, diameter_mm: float | None) -> float:
    """Draw the zoom factor, or the nodule's target diameter, uniformly in its logarithm."""
    if diameter_mm is None or config.nodule_mm is None:
        return float(np.exp(rng.uniform(*np.log(config.scale))))
    target_mm = np.exp(rng.uniform(*np.log(config.nodule_mm)))
    return float(np.clip(target_mm / diameter_mm, *config.scale))


def _rotation_and_zoom(
    rng: np.random.Generator, config: AugmentConfig, spacing_mm: NDArray[np.float64], zoom: float
) -> NDArray[np.float64]:
    """Rotate in millimetres, so that anisotropic voxels are turned and not sheared."""
    axis = rng.normal(size=3)
    degrees = rng.uniform(-config.rotation_degrees, config.rotation_degrees)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.deg2rad(degrees)).as_matrix()
    matrix: NDArray[np.float64] = turn / zoom
    return matrix * spacing_mm[None, :] / spacing_mm[:, None]
