"""Where nodules sit: free in the lung, at the pleura, or on a vessel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.anatomy.classes import ANATOMY
from semilung.data.phantom.canvas import Floats, Grid, Point
from semilung.data.phantom.nodules import SMALLEST_VOXELS, Finding, Nodule, Site
from semilung.data.phantom.torso import Chest


@dataclass(frozen=True)
class _Room:
    """The lung's voxels: their place, depth under the pleura and distance to a vessel, in mm."""

    points: Floats
    depth: Floats
    to_vessel: Floats
    spacing_mm: float

    @classmethod
    def of(cls, chest: Chest, grid: Grid) -> _Room:
        vessels = chest.canvas.anatomy == ANATOMY["vessel"]
        to_vessel = ndimage.distance_transform_edt(~vessels, sampling=grid.spacing_mm)
        voxels = np.nonzero(chest.lung_mm < 0)
        points = np.stack([grid.axis[v] for v in voxels], axis=1)
        return cls(
            points,
            -chest.lung_mm[voxels],
            to_vessel[voxels].astype(np.float32),
            grid.spacing_mm,
        )

    def allowed(self, site: Site, radius: float) -> NDArray[np.bool_]:
        """Voxels that may be the centre of a nodule of this site and radius."""
        if site == "juxtapleural":
            return _near(self.depth, 0.6 * radius, self.spacing_mm)
        deep: NDArray[np.bool_] = self.depth > radius
        if site == "juxtavascular":
            return deep & _near(self.to_vessel, 0.8 * radius, self.spacing_mm)
        # Large nodules find no place without any vessel: they take one of the emptiest.
        emptiest = np.quantile(self.to_vessel[deep], 0.9) if deep.any() else 0
        return deep & (self.to_vessel >= min(radius + self.spacing_mm, emptiest))

    def apart(self, nodule: Nodule, radius: float) -> NDArray[np.bool_]:
        """Voxels at which a ball of `radius` keeps clear of a nodule."""
        distance = np.linalg.norm(self.points - nodule.centre_mm.astype(np.float32), axis=1)
        clear: NDArray[np.bool_] = distance > 1.4 * (radius + nodule.radius_mm) + self.spacing_mm
        return clear


def _near(distance: Floats, wanted: float, spacing_mm: float) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = np.abs(distance - wanted) < spacing_mm / 2
    return near


def place_nodules(
    chest: Chest, grid: Grid, findings: list[Finding], rng: np.random.Generator
) -> list[Nodule]:
    """Give every finding a place that suits its site, apart from the others.

    One that fits nowhere shrinks by steps of a fifth; none is smaller than four voxels across.
    """
    room = _Room.of(chest, grid)
    placed: list[Nodule] = []
    for finding in findings:
        smallest = SMALLEST_VOXELS * grid.spacing_mm
        diameter = max(finding.diameter_mm, smallest)
        centre = _find(room, finding.site, diameter / 2, placed, rng)
        while centre is None and diameter > smallest:
            diameter = max(0.8 * diameter, smallest)
            centre = _find(room, finding.site, diameter / 2, placed, rng)
        if centre is not None:
            placed.append(Nodule(replace(finding, diameter_mm=diameter), centre))
    return placed


def _find(
    room: _Room, site: Site, radius: float, placed: list[Nodule], rng: np.random.Generator
) -> Point | None:
    allowed = room.allowed(site, radius)
    for nodule in placed:
        allowed &= room.apart(nodule, radius)
    candidates = np.flatnonzero(allowed)
    if len(candidates) == 0:
        return None
    jitter = rng.uniform(-0.5, 0.5, 3) * room.spacing_mm
    centre: Point = room.points[rng.choice(candidates)] + jitter
    return centre
