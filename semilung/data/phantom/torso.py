"""The chest without vessels and airways: body, bones, mediastinum, abdomen, parenchyma."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semilung.data.phantom.canvas import (
    Canvas,
    CubeGrid,
    Floats,
    occupancy,
    sheet_occupancy,
    smooth_max,
)
from semilung.data.phantom.organs import Build, Organs

FAT_HU, MUSCLE_HU, MEDIASTINUM_HU, HEART_HU, LIVER_HU, SPLEEN_HU = -100, 50, 40, 45, 60, 48
CORTICAL_HU, TRABECULAR_HU = 650, 250
PLEURA_HU, FISSURE_MM = 20, 0.7


@dataclass(frozen=True)
class Chest:
    """The painted chest, and the signed distance in mm to the lungs' surface (negative inside)."""

    canvas: Canvas
    lung_mm: Floats
    build: Build


def build_chest(grid: CubeGrid, rng: np.random.Generator) -> Chest:
    """Paint one random subject's chest without vessels and airways."""
    build = Build.draw(rng)
    organs = Organs(grid, build, rng)
    canvas = Canvas(grid.shape)

    def inside(distance: Floats) -> Floats:
        return occupancy(distance, organs.spacing)

    body, cavity, heart, abdomen = organs.body(), organs.cavity(), organs.heart(), organs.abdomen()
    spine = organs.spine()
    lung = cavity
    for organ in (organs.mediastinum(), spine, heart, abdomen):
        lung = smooth_max(lung, -organ, 6)

    fat_pads = occupancy(2 - 2 * grid.smooth_field(rng, length=22), 1)
    canvas.paint(inside(body), FAT_HU, "soft_tissue")
    canvas.paint(inside(body + build.fat), MUSCLE_HU, "soft_tissue")
    canvas.paint(inside(cavity), MEDIASTINUM_HU, "soft_tissue")
    viscera = LIVER_HU + (SPLEEN_HU - LIVER_HU) * (organs.x < 0).astype(np.float32)
    canvas.paint(inside(np.maximum(abdomen, cavity)), viscera, "soft_tissue")
    # Fat stays away from the dome of the diaphragm, below which the liver is.
    deep = np.maximum(cavity, np.where(organs.x > 0, 20, 10) + abdomen)
    pads = np.maximum(inside(deep), inside(np.maximum(cavity, -abdomen)))
    canvas.paint(fat_pads * pads, FAT_HU, "soft_tissue")
    canvas.paint(inside(np.maximum(heart, -abdomen)), HEART_HU, "soft_tissue")
    canvas.paint(inside(lung), _parenchyma(grid, organs.y, rng), "lung")
    pleura = sheet_occupancy(organs.fissures(), FISSURE_MM, organs.spacing) * inside(lung)
    canvas.hu += pleura * (PLEURA_HU - canvas.hu)  # Thinner than a voxel: labelled lung.
    for bone in (spine, organs.posterior_arch(), organs.ribs(cavity), organs.sternum(cavity)):
        canvas.paint(inside(bone), CORTICAL_HU, "bone")
        canvas.paint(inside(bone + 1.5), TRABECULAR_HU, "bone")
    return Chest(canvas, lung * np.float32(grid.scale), build)


def _parenchyma(grid: CubeGrid, y: Floats, rng: np.random.Generator) -> Floats:
    """Draw parenchyma: about -850 HU, denser towards the back (supine), with texture."""
    coarse, fine = grid.smooth_field(rng, length=40), grid.smooth_field(rng, length=7)
    parenchyma: Floats = -855 - 0.5 * y + rng.uniform(-20, 20) + 12 * coarse + 12 * fine
    return parenchyma
