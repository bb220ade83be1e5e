"""Surfaces of the organs of a random subject, as signed distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semilung.data.phantom.canvas import CubeGrid, Floats, smooth_max, surface_distance


@dataclass(frozen=True)
class Build:
    """Body proportions of one subject, in mm at the reference field of view."""

    half_width: float
    half_depth: float
    fat: float
    heart: float
    diaphragm: float
    rib_phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        """Draw a random subject."""
        return cls(
            half_width=rng.uniform(81, 88),
            half_depth=rng.uniform(61, 70),
            fat=rng.uniform(4, 9),
            heart=rng.uniform(0.9, 1.1),
            diaphragm=rng.uniform(-8, 6),
            rib_phase=rng.uniform(0, 18),
        )

    @property
    def wall(self) -> float:
        """Thickness of the chest wall: fat, and muscle with the ribs in it."""
        return self.fat + 12

    @property
    def spine_y(self) -> float:
        """Position of the vertebral bodies' centres."""
        return -self.half_depth + self.wall + 8


class Organs:
    """Signed distances in reference mm to the organs' surfaces, `(X, Y, Z)`, negative inside.

    Formulas are written at the reference size on gently warped coordinates `x, y, z` = right,
    anterior, superior.
    """

    def __init__(self, grid: CubeGrid, build: Build, rng: np.random.Generator) -> None:
        warp = np.stack([grid.smooth_field(rng, length=45) for _ in range(3)])
        coordinates = grid.coordinates() / np.float32(grid.scale) + 2 * warp
        self.x, self.y, self.z = coordinates
        self.build = build
        self.spacing = grid.spacing_mm / grid.scale

    def body(self) -> Floats:
        """Body: a superelliptic cylinder."""
        build = self.build
        level = (np.abs(self.x) / build.half_width) ** 2.5
        level += (np.abs(self.y) / build.half_depth) ** 2.5
        return surface_distance(level ** (1 / 2.5), self.spacing)

    def cavity(self) -> Floats:
        """Thoracic cavity: a cylinder with a dome on top."""
        build = self.build
        level = (np.abs(self.x) / (build.half_width - build.wall)) ** 2.2
        level += (np.abs(self.y) / (build.half_depth - build.wall)) ** 2.2
        level += (np.maximum(self.z - 10, 0) / 72) ** 2.2
        return surface_distance(level ** (1 / 2.2), self.spacing)

    def mediastinum(self) -> Floats:
        """Mediastinum: thin in front, broad at the great vessels and the apices."""
        width = 5 + 10 * np.exp(-(((self.y + 8) / 26) ** 2)) + 9 / (1 + np.exp((52 - self.z) / 7))
        distance: Floats = np.abs(self.x) - width
        return distance

    def heart(self) -> Floats:
        """Heart: ventricles as an egg, its apex left, anterior, inferior; and the right atrium."""
        size = self.build.heart
        x, y, z = self.x + 9, self.y - 7, self.z + 21
        along = -0.62 * x + 0.47 * y - 0.63 * z
        across = np.maximum(x * x + y * y + z * z - along * along, 0)
        girth = np.clip(28 - 0.22 * along, 14, 36) * size
        ventricles = np.sqrt((along / (41 * size)) ** 2 + across / girth**2)
        atrium = ((self.x - 12) / (15 * size)) ** 2 + ((self.y - 3) / (18 * size)) ** 2
        atrium += ((self.z + 13) / (23 * size)) ** 2
        left, right = (surface_distance(v, self.spacing) for v in (ventricles, np.sqrt(atrium)))
        both: Floats = -smooth_max(-left, -right, 8)
        return both

    def fissures(self) -> Floats:
        """Fissures: an oblique surface in each lung, a horizontal one in the right."""
        right = self.x > 0
        bow = 3 * np.sin(self.x / 16)
        oblique = (self.z + np.where(right, 0.85, 1.0) * self.y + 6 + bow) * np.float32(0.74)
        horizontal = self.z - 4 + 0.12 * self.y - bow
        in_front = right & (oblique > 0)
        nearest: Floats = np.where(
            in_front, np.minimum(oblique, np.abs(horizontal)), np.abs(oblique)
        )
        return nearest

    def abdomen(self) -> Floats:
        """Abdomen: below the two domes of the diaphragm, of which the right one is higher."""
        side = (np.abs(self.x) - 32) / 31
        dome = np.exp(-side * side - ((self.y - 6) / 36) ** 2)
        surface = -80 + self.build.diaphragm + (35 + 4 * np.tanh(self.x / 10)) * dome
        distance: Floats = (self.z - surface) * 0.75
        return distance

    def spine(self) -> Floats:
        """Vertebral bodies, 22 mm apart, with discs as waists between them."""
        disc = np.exp(-((self._along_vertebra() / 3) ** 2))
        level = (self.x / 14) ** 2 + ((self.y - self.build.spine_y) / 12) ** 2
        return surface_distance(np.sqrt(level) * (1 + 0.1 * disc), self.spacing)

    def posterior_arch(self) -> Floats:
        """Laminae, spinous and transverse processes around the spinal canal."""
        behind = self.y - (self.build.spine_y - 19)
        ring = np.sqrt(self.x**2 + behind**2)
        spinous = np.maximum(np.abs(self.x) - 2.5, np.abs(behind + 10) - 8)
        transverse = np.maximum(np.abs(self.x) - 22, np.abs(behind - 3) - 3)
        processes = np.maximum(np.minimum(spinous, transverse), 6 - np.abs(self._along_vertebra()))
        distance: Floats = np.maximum(np.minimum(ring - 10, processes), 6 - ring)
        return distance

    def _along_vertebra(self) -> Floats:
        """Signed distance in z to the nearest disc."""
        offset: Floats = np.mod(self.z + 11, 22) - 11
        return offset

    def ribs(self, cavity: Floats) -> Floats:
        """Ribs: tilted hoops around the cavity, 18 mm apart, lower in front, up to the cartilage.

        Half-axes are 2.6 mm across and 4 mm along the wall.
        """
        phase = np.mod(self.z + 0.7 * self.y + self.build.rib_phase, 18) - 9
        hoop = 2.6 * (np.sqrt(((cavity - 4.5) / 2.6) ** 2 + (phase / 4.9) ** 2) - 1)
        distance: Floats = np.maximum(hoop, self.y - 0.55 * self.build.half_depth)
        return distance

    def sternum(self, cavity: Floats) -> Floats:
        """Sternum: a plate in front of the cavity."""
        plate = np.maximum(np.abs(cavity - 5) - 3.5, np.abs(self.x) - 12)
        distance: Floats = np.maximum(np.maximum(plate, -self.y), np.abs(self.z - 10) - 50)
        return distance
