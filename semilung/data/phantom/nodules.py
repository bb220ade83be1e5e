"""Nodules of the phantom: number, diameter, texture, and painting with an exact mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from semilung.data.phantom.canvas import CubeGrid, Floats, Labels, Point, occupancy
from semilung.data.phantom.shapes import Shape, shape_occupancy

Texture: TypeAlias = Literal["solid", "part_solid", "ground_glass"]
Site: TypeAlias = Literal["isolated", "juxtapleural", "juxtavascular"]

TEXTURES: tuple[Texture, ...] = get_args(Texture)
SITES: tuple[Site, ...] = get_args(Site)
TEXTURE_SHARES = (0.6, 0.2, 0.2)
SITE_SHARES = (0.45, 0.3, 0.25)
COUNT_SHARES = (0.4, 0.3, 0.2, 0.1)
"""Probabilities of one, two, three or four nodules in a diseased scan."""

SMALLEST_VOXELS = 5
"""Smallest diameter in voxels at which a nodule has a shape."""

MEDIAN_MM, LOW_MM, HIGH_MM, RANGE_MM = 8.5, 5.0, 26.0, (3.0, 30.0)
Z95 = 1.6448536
"""95th percentile of the standard normal distribution."""


@dataclass(frozen=True)
class Finding:
    """A nodule without a position; `diameter_mm` is that of the ball of equal volume."""

    diameter_mm: float
    texture: Texture
    site: Site
    shape: Shape


@dataclass(frozen=True)
class Nodule:
    """A finding at its position (RAS+ mm), cut off at the border of the lung."""

    finding: Finding
    centre_mm: Point

    @property
    def radius_mm(self) -> float:
        """Half the diameter."""
        return self.finding.diameter_mm / 2


def sample_diameters_mm(
    rng: np.random.Generator, count: int, *, smallest_mm: float = RANGE_MM[0]
) -> Floats:
    """Draw diameters as in LIDC-IDRI: median 8.5 mm, 5 % below 5, 5 % above 26, in [3, 30] mm.

    A log-normal with one spread on either side of the median, z standard normal:

        ln d = ln 8.5 + s z,   s = ln(8.5 / 5) / 1.645 if z < 0 else ln(26 / 8.5) / 1.645

    Args:
        rng: Source of randomness.
        count: Number of diameters.
        smallest_mm: The distribution is truncated below it.

    Example:
        >>> round(float(np.median(sample_diameters_mm(np.random.default_rng(0), 9999))), 1)
        8.5
    """
    smallest_mm = min(smallest_mm, RANGE_MM[1])
    lowest = math.log(smallest_mm / MEDIAN_MM) / _spread(np.float64(smallest_mm - MEDIAN_MM))
    z = ndtri(rng.uniform(ndtr(lowest), 1, count))
    return np.clip(MEDIAN_MM * np.exp(_spread(z) * z), smallest_mm, RANGE_MM[1]).astype(np.float32)


def _spread(z: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """Return the standard deviation of ln d, below or above the median."""
    below, above = math.log(MEDIAN_MM / LOW_MM), math.log(HIGH_MM / MEDIAN_MM)
    return np.where(z < 0, below, above) / Z95


def draw_findings(rng: np.random.Generator, *, smallest_mm: float = RANGE_MM[0]) -> list[Finding]:
    """Draw the one to four nodules of a diseased scan, the largest first."""
    count = int(rng.choice(len(COUNT_SHARES), p=COUNT_SHARES)) + 1
    diameters = sample_diameters_mm(rng, count, smallest_mm=smallest_mm)
    return [
        Finding(
            diameter_mm=diameter,
            texture=TEXTURES[rng.choice(len(TEXTURES), p=TEXTURE_SHARES)],
            site=SITES[rng.choice(len(SITES), p=SITE_SHARES)],
            shape=Shape.draw(rng),
        )
        for diameter in sorted(diameters.tolist(), reverse=True)
    ]


def paint_nodules(
    hu: Floats, lung_mm: Floats, nodules: list[Nodule], grid: CubeGrid, rng: np.random.Generator
) -> Labels:
    """Paint nodules into `hu`, in place, and return their mask.

    Solid tissue has 10 to 60 HU, ground glass -650 to -500. A nodule never darkens voxels:
    vessels show through ground glass.

    Returns:
        `(X, Y, Z)` labels 1..n in the order of `nodules`, of voxels covered by half or more.
    """
    mask = np.zeros(grid.shape, np.uint8)
    for label, nodule in enumerate(nodules, start=1):
        finding = nodule.finding
        box, share = shape_occupancy(grid, finding.shape, nodule.centre_mm, nodule.radius_mm)
        lung = occupancy(lung_mm[box], grid.spacing_mm)
        share = np.minimum(share, lung)
        solid_hu, glass_hu = rng.uniform(10, 60), rng.uniform(-650, -500)
        core = rng.uniform(0.45, 0.65) * nodule.radius_mm
        _brighten(hu[box], share, solid_hu if finding.texture == "solid" else glass_hu)
        if finding.texture == "part_solid":
            inner, part = shape_occupancy(grid, finding.shape, nodule.centre_mm, core)
            clipped = np.minimum(part, occupancy(lung_mm[inner], grid.spacing_mm))
            _brighten(hu[inner], clipped, solid_hu)
        mask[box][share >= 0.5] = label
    return mask


def _brighten(hu: Floats, share: Floats, value: float) -> None:
    hu += share * np.maximum(np.float32(value) - hu, 0)
