"""Branching trees that fill the lungs, drawn as tapering tubes with exact partial volume.

Branches grow towards the centroids of the point clouds that they supply, which are halved at every
fork, after the volume-filling airway model of Tawhai et al. (2000), with radii after Murray's law
(1926).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.data.phantom.canvas import CubeGrid, Floats, Point

REACH = 0.47
"""Length of a branch as a share of the distance to the centroid of its cloud."""


class Tube(NamedTuple):
    """A straight tapering tube between two points (RAS+ mm), with radii in mm."""

    start: Point
    end: Point
    start_radius: float
    end_radius: float


class Stem(NamedTuple):
    """Root of a tree: a point (RAS+ mm) and a radius (mm)."""

    point: Point
    radius: float


def grow_tree(
    stem: Stem,
    cloud: NDArray[np.float64],
    *,
    end_radius: float,
    is_inside: Callable[[Point], bool],
) -> list[Tube]:
    """Fork from `stem` into `cloud` until tubes are thinner than `end_radius` or supply 3 points.

    At a fork of n points into n1 + n2, radii follow Murray's law with the points as flow:

        r_i = r (n_i / n)^(1/3),   so that   r^3 = r1^3 + r2^3

    Args:
        stem: Root of the tree.
        cloud: Points to supply, `(n, 3)`, in mm.
        end_radius: Smallest radius in mm.
        is_inside: Whether a point may be a fork; otherwise the nearest point of the cloud is.

    Returns:
        Tubes from the root outwards, two for a branch thick enough for a visible bend.
    """
    tubes: list[Tube] = []
    pending = [(stem, np.zeros(3), cloud)]
    while pending:
        (point, radius), heading, points = pending.pop()
        for part in _halves(points):
            child = radius * (len(part) / len(points)) ** (1 / 3)
            if child < end_radius or len(part) < 3:
                continue
            end = point + REACH * (part.mean(axis=0) - point)
            if not is_inside(end):
                end = part[np.argmin(np.sum((part - end) ** 2, axis=1))]
            tip = max(0.85 * child, end_radius)
            bend = _bend(point, heading, end)
            if child > 2 * end_radius and is_inside(bend):
                middle = (child + tip) / 2
                tubes += [Tube(point, bend, child, middle), Tube(bend, end, middle, tip)]
            else:
                bend = point
                tubes.append(Tube(point, end, child, tip))
            pending.append((Stem(end, child), end - bend, part))
    return tubes


def _bend(point: Point, heading: Point, end: Point) -> Point:
    """Return the middle of a curve to `end` that leaves `point` along its parent's `heading`."""
    step = end - point
    forward = heading * (np.linalg.norm(step) / max(float(np.linalg.norm(heading)), 1e-6))
    middle: Point = point + step / 2 + 0.2 * (forward - step) * heading.any()
    return middle


def _halves(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split a cloud at its centroid, across its longest axis."""
    centred = points - points.mean(axis=0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    ahead = centred @ axis > 0
    return points[ahead], points[~ahead]


def chain(points: list[tuple[float, float, float]], radius: float, scale: float) -> list[Tube]:
    """Return tubes of constant radius through `points` (reference mm)."""
    knots = [np.array(p) * scale for p in points]
    r = radius * scale
    return [Tube(a, b, r, r) for a, b in pairwise(knots)]


def tube_occupancy(grid: CubeGrid, tubes: list[Tube]) -> Floats:
    """Return the share of each voxel inside any of `tubes`, `(X, Y, Z)` in [0, 1].

    Across a tube of radius r the profile is `g clip(1/2 - (d - R) / h, 0, 1)`, h the spacing, whose
    integral is the true area `pi r^2` also where the tube is thinner than a voxel:

        R^2 = r^2 - h^2 / 12,  g = 1           where r >= h / sqrt(3)
        R   = h / 2,           g = 3 r^2 / h^2  elsewhere
    """
    share = np.zeros(grid.shape, np.float32)
    for tube in tubes:
        _paint_tube(share, grid, tube)
    return share


def _paint_tube(share: Floats, grid: CubeGrid, tube: Tube) -> None:
    h = grid.spacing_mm
    margin = max(tube.start_radius, tube.end_radius) + h
    low, high = np.minimum(tube.start, tube.end), np.maximum(tube.start, tube.end)
    box = grid.box(low - margin, high + margin)
    x, y, z = (
        grid.axis[s].reshape(shape) - np.float32(start)
        for s, start, shape in zip(
            box, tube.start, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True
        )
    )
    ax, ay, az = (float(v) for v in tube.end - tube.start)
    along = (x * ax + y * ay + z * az) / max(ax * ax + ay * ay + az * az, 1e-6)
    along = np.clip(along, 0, 1)
    distance = np.sqrt((x - along * ax) ** 2 + (y - along * ay) ** 2 + (z - along * az) ** 2)
    radius = tube.start_radius + along * (tube.end_radius - tube.start_radius)
    apparent = np.sqrt(np.maximum(radius**2 - h * h / 12, h * h / 4))
    gain = np.minimum(3 * radius**2 / (h * h), 1)
    profile = gain * np.clip(0.5 - (distance - apparent) / h, 0, 1)
    np.maximum(share[box], profile, out=share[box])
