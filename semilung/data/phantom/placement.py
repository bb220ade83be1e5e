"""Placement of nodules: isolated, juxtapleural or juxtavascular."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.anatomy.classes import ANATOMY
from semilung.data.phantom.canvas import CubeGrid, Floats, Point
from semilung.data.phantom.nodules import SMALLEST_VOXELS, Finding, Nodule, Site
from semilung.data.phantom.torso import Chest


@dataclass(frozen=True)
class _LungVoxels:
    """The lung's voxels: position, depth below the pleura and distance to a vessel, in mm."""

    points: Floats
    depth: Floats
    to_vessel: Floats
    spacing_mm: float

    @classmethod
    def of(cls, chest: Chest, grid: CubeGrid) -> _LungVoxels:
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
        """Return the voxels that may be the centre of a nodule of this site and radius."""
        if site == "juxtapleural":
            return _near(self.depth, 0.6 * radius, self.spacing_mm)
        deep: NDArray[np.bool_] = self.depth > radius
        if site == "juxtavascular":
            return deep & _near(self.to_vessel, 0.8 * radius, self.spacing_mm)
        # Large nodules do not fit without any vessel: they take one of the emptiest positions.
        emptiest = np.quantile(self.to_vessel[deep], 0.9) if deep.any() else 0
        return deep & (self.to_vessel >= min(radius + self.spacing_mm, emptiest))

    def apart(self, nodule: Nodule, radius: float) -> NDArray[np.bool_]:
        """Return the voxels at which a ball of `radius` does not touch a nodule."""
        distance = np.linalg.norm(self.points - nodule.centre_mm.astype(np.float32), axis=1)
        clear: NDArray[np.bool_] = distance > 1.4 * (radius + nodule.radius_mm) + self.spacing_mm
        return clear


def _near(distance: Floats, target: float, spacing_mm: float) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = np.abs(distance - target) < spacing_mm / 2
    return near


def place_nodules(
    chest: Chest, grid: CubeGrid, findings: list[Finding], rng: np.random.Generator
) -> list[Nodule]:
    """Place every finding at a position of its site, apart from the others.

    One that does not fit shrinks by steps of a fifth, to `SMALLEST_VOXELS` across at least.
    """
    voxels = _LungVoxels.of(chest, grid)
    placed: list[Nodule] = []
    for finding in findings:
        smallest = SMALLEST_VOXELS * grid.spacing_mm
        diameter = max(finding.diameter_mm, smallest)
        centre = _find(voxels, finding.site, diameter / 2, placed, rng)
        while centre is None and diameter > smallest:
            diameter = max(0.8 * diameter, smallest)
            centre = _find(voxels, finding.site, diameter / 2, placed, rng)
        if centre is not None:
            placed.append(Nodule(replace(finding, diameter_mm=diameter), centre))
    return placed


def _find(
    voxels: _LungVoxels, site: Site, radius: float, placed: list[Nodule], rng: np.random.Generator
) -> Point | None:
    allowed = voxels.allowed(site, radius)
    for nodule in placed:
        allowed &= voxels.apart(nodule, radius)
    candidates = np.flatnonzero(allowed)
    if len(candidates) == 0:
        return None
    jitter = rng.uniform(-0.5, 0.5, 3) * voxels.spacing_mm
    centre: Point = voxels.points[rng.choice(candidates)] + jitter
    return centre
