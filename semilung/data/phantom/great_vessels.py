"""Great vessels, pulmonary arteries and veins, and the airways along the arteries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semilung.data.phantom.canvas import CubeGrid, Floats, Point
from semilung.data.phantom.torso import Chest
from semilung.data.phantom.trees import Stem, Tube, chain, grow_tree, tube_occupancy

BLOOD_HU, WALL_HU, AIR_HU = 45, 20, -1000
CARINA = (0.0, -9.0, 22.0)
TRUNK = (-4.0, 5.0, 11.0)
ATRIUM = (0.0, -7.0, -2.0)
CLOUD = 1200
"""Number of points that each tree of a lung supplies."""


def paint_trees(chest: Chest, grid: CubeGrid, rng: np.random.Generator) -> None:
    """Paint vessels and then airways on the chest's canvas.

    Arteries supply the airways' points, shifted by a few millimetres, and so run next to them.
    """
    scale = grid.scale
    airways = chain([(0, -7, 100), (0, -8, 60), CARINA], 5, scale)
    # A vessel thinner than a third of a voxel would be invisible.
    finest = max(0.6, 0.3 * grid.spacing_mm)
    vessels = _great_vessels(scale, chest.build.spine_y)
    for side in (-1, 1):
        hilum = np.array([side * 19.0, -9.0, 7.0]) * scale
        offset = np.array([side * 1.0, 3.5, 2.0]) * scale
        supplied, drained = (_cloud(chest.lung_mm, grid, side, rng) for _ in range(2))
        ends = ((CARINA, hilum, 3.6), (TRUNK, hilum + offset, 6.0), (ATRIUM, hilum - offset, 5.6))
        stems = [_stem(start, end, radius, scale) for start, end, radius in ends]
        airways.append(stems[0])
        vessels += stems[1:]
        clouds = (supplied, supplied + offset, drained)
        trees = [
            _tree(stem, cloud, chest.lung_mm, grid, end_radius=radius)
            for stem, cloud, radius in zip(stems, clouds, (1.0, finest, finest), strict=True)
        ]
        airways += trees[0]
        vessels += trees[1] + trees[2]
    chest.canvas.paint(tube_occupancy(grid, vessels), BLOOD_HU, "vessel")
    _paint_airways(chest, grid, airways)


def _great_vessels(scale: float, spine_y: float) -> list[Tube]:
    """Return aorta, pulmonary trunk, and the left atrium as one short wide tube."""
    descending = spine_y + 15
    arch = [(3, 6, -8), (5, 8, 24), (0, 2, 38), (-9, -9, 40), (-13, descending, 28)]
    aorta = chain([*arch, (-10, descending, -100)], 7.5, scale)
    trunk = chain([(-12, 15, -10), TRUNK], 7, scale)
    atrium = chain([(-9, -8, -3), (9, -8, -3)], 7, scale)
    return aorta + trunk + atrium


def _stem(start: tuple[float, float, float], end: Point, radius: float, scale: float) -> Tube:
    return Tube(np.array(start) * scale, end, radius * scale, radius * scale)


def _cloud(
    lung_mm: Floats, grid: CubeGrid, side: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw random points of one lung (side -1: left), away from its surface."""
    half = (grid.axis * side > 0)[:, None, None]
    voxels = np.argwhere((lung_mm < -2.5) & half)
    chosen = voxels[rng.choice(len(voxels), CLOUD)]
    jitter = rng.uniform(-0.5, 0.5, chosen.shape)
    points: NDArray[np.float64] = (chosen + jitter - (grid.size - 1) / 2) * grid.spacing_mm
    return points


def _tree(
    stem: Tube, cloud: NDArray[np.float64], lung_mm: Floats, grid: CubeGrid, *, end_radius: float
) -> list[Tube]:
    def is_inside(point: Point) -> bool:
        return bool(lung_mm[grid.index(point)] < -1)

    root = Stem(stem.end, stem.end_radius)
    return grow_tree(root, cloud, end_radius=end_radius, is_inside=is_inside)


def _paint_airways(chest: Chest, grid: CubeGrid, lumens: list[Tube]) -> None:
    """Paint lumen and wall (0.5 mm and a fifth of the radius); the wall is not labelled."""
    outer = [t._replace(start_radius=_outer(t[2]), end_radius=_outer(t[3])) for t in lumens]
    air, both = tube_occupancy(grid, lumens), tube_occupancy(grid, outer)
    canvas = chest.canvas
    canvas.hu += np.maximum(both - air, 0) * (WALL_HU - canvas.hu)
    canvas.paint(air, AIR_HU, "airway")


def _outer(radius: float) -> float:
    return 1.2 * radius + 0.5
