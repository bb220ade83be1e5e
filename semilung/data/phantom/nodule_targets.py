"""Rows of `nodules.csv` for a phantom: place and size from the mask, synthetic targets."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.grid import ball_diameter_mm
from semilung.data.manifest.nodules import Nodule
from semilung.data.phantom.nodules import Finding
from semilung.data.phantom.scan import Scan

TEXTURE_RISK = {"solid": 0.0, "part_solid": 0.8, "ground_glass": -0.4}
SPICULATION_RISK = 1.2
SIZE_RISK = 2.0
NOISE = 0.4
"""Standard deviation between readers, in the unit of the score."""

RATING_BOUNDS = (-1.2, -0.3, 0.5, 1.3)


def nodule_rows(
    scan: Scan, affine: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Nodule, ...]:
    """The nodules of a drawn scan.

    Centre and diameter (of a ball of equal volume) are those of the mask, which the pleura may have
    cut. Targets: `texture`, `spiculated` (0 or 1) and `malignancy` (see `malignancy_rating`).

    Args:
        scan: In RAS order.
        affine: Of its voxels, to RAS+ mm.
        rng: Of the ratings.
    """
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    rows = []
    for label, nodule in enumerate(scan.nodules, start=1):
        rating = malignancy_rating(nodule.finding, rng)
        voxels = np.argwhere(scan.mask == label)
        if not len(voxels):
            continue
        x_mm, y_mm, z_mm = np.round(affine[:3] @ [*voxels.mean(0), 1], 2).tolist()
        rows.append(
            Nodule(
                name=str(label),
                centre_mm=(x_mm, y_mm, z_mm),
                diameter_mm=round(float(ball_diameter_mm(len(voxels), voxel_mm3)), 1),
                source="phantom",
                targets={
                    "texture": nodule.finding.texture,
                    "spiculated": str(int(nodule.finding.shape.spiculated)),
                    "malignancy": str(rating),
                },
            )
        )
    return tuple(rows)


def malignancy_rating(finding: Finding, rng: np.random.Generator) -> int:
    """Synthetic rating of malignancy, 1 (benign) to 5, that size alone does not explain.

        s = 2 ln(d / 10 mm) + 1.2 [spiculated] + t + e,    e ~ N(0, 0.4)

    with t = 0 for solid, 0.8 for part-solid and -0.4 for ground-glass nodules, cut at -1.2, -0.3,
    0.5 and 1.3. The order of the factors follows McWilliams et al., NEJM 2013; the numbers are made
    up, so that a model of characterization has something to find in a phantom.
    """
    score = SIZE_RISK * math.log(finding.diameter_mm / 10) + TEXTURE_RISK[finding.texture]
    score += SPICULATION_RISK * finding.shape.spiculated + NOISE * float(rng.standard_normal())
    return 1 + int(np.searchsorted(RATING_BOUNDS, score))
