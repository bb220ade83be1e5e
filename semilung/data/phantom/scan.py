"""One phantom scan, a function of seed and index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semilung.data.phantom.canvas import CubeGrid, Labels
from semilung.data.phantom.great_vessels import paint_trees
from semilung.data.phantom.nodules import SMALLEST_VOXELS, Nodule, draw_findings, paint_nodules
from semilung.data.phantom.placement import place_nodules
from semilung.data.phantom.texture import Kernel, Scanner
from semilung.data.phantom.torso import build_chest

SHARP_KERNELS = {"hospital": 0.6, "screening": 0.4}
"""Probability of the sharp kernel in each cohort: cohorts differ, but overlap."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A chest CT with its ground truth, in RAS+ order.

    Attributes:
        image: `(X, Y, Z)` int16 in HU, at least -1024.
        mask: `(X, Y, Z)` uint8, nodules 1..n, the largest first.
        anatomy: `(X, Y, Z)` uint8, labels `ANATOMY` of the chest without its nodules.
        nodules: The nodules in the order of the mask's labels.
        kernel: Reconstruction kernel.
        noise_hu: Standard deviation of the noise.
    """

    image: NDArray[np.int16]
    mask: Labels
    anatomy: Labels
    nodules: list[Nodule]
    kernel: Kernel
    noise_hu: float


def draw_scan(
    index: int,
    *,
    diseased: bool,
    cohort: str = "hospital",
    size: int = 96,
    spacing_mm: float = 2.0,
    seed: int = 0,
) -> Scan:
    """Draw one scan, a pure function of its arguments.

    Chest, trees, nodules and scanner have separate random streams, so that a scan and its healthy
    twin (`diseased=False`) differ at the nodules only.

    Args:
        index: Number of the scan within its cohort.
        diseased: Whether it has nodules, one to four.
        cohort: A key of `SHARP_KERNELS`.
        size: Voxels along each axis.
        spacing_mm: Edge length of a voxel; the anatomy scales with the field of view.
        seed: Seed of the whole phantom.

    Example:
        >>> scan = draw_scan(0, diseased=True, size=48, spacing_mm=3.0)
        >>> scan.image.shape, int(scan.mask.max()) == len(scan.nodules)
        ((48, 48, 48), True)
    """
    grid = CubeGrid(size, spacing_mm)
    anatomy_rng, tree_rng, nodule_rng, scanner_rng = np.random.default_rng([seed, index]).spawn(4)
    chest = build_chest(grid, anatomy_rng)
    paint_trees(chest, grid, tree_rng)
    hu, mask, nodules = chest.canvas.hu, np.zeros(grid.shape, np.uint8), list[Nodule]()
    if diseased:
        findings = draw_findings(nodule_rng, smallest_mm=SMALLEST_VOXELS * spacing_mm)
        nodules = place_nodules(chest, grid, findings, nodule_rng)
        mask = paint_nodules(hu, chest.lung_mm, nodules, grid, nodule_rng)
    scanner = Scanner.draw(scanner_rng, sharp=SHARP_KERNELS[cohort])
    scanned = scanner.acquire(hu, spacing_mm, scanner_rng)
    image = np.rint(np.maximum(scanned, -1024)).astype(np.int16)
    return Scan(image, mask, chest.canvas.anatomy, nodules, scanner.kernel, scanner.noise_hu)
