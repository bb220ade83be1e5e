"""A mask only where nodules are detected, for runs of both tasks.

Segmentation learns from crops, most of which hold a nodule; in a whole chest it marks hundreds of
vessels and walls. Detection learns what is a nodule and what only looks like a part of one. A voxel
keeps its foreground probability if it lies near a detected centre.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from semilung.data.io.grid import ball_voxels
from semilung.inference.centre_findings import find_centres

MOST = 1000
"""Centres that are considered, the most probable ones."""

REACH, MARGIN_MM = 0.75, 3.0
"""A voxel is near a centre within `REACH` diameters and `MARGIN_MM`: half as far again as the ball,
for nodules that are no balls, and a margin for small ones."""


def gated(
    probability: Tensor, centres: Tensor, spacing_mm: Sequence[float], *, least: float
) -> Tensor:
    """Return a foreground probability that is 0 except near detected centres.

    Args:
        probability: `(1, X, Y, Z)`.
        centres: `(5, X', Y', Z')`, as `centre_values` gives them.
        spacing_mm: Of the voxels of the probability.
        least: Least probability of a centre, in (0, 1).

    Example:
        >>> centres = torch.zeros(5, 10, 10, 10)
        >>> centres[0, 5, 5, 5], centres[4] = 0.6, 1.6  # of 5 mm
        >>> mask = gated(torch.ones(1, 20, 20, 20), centres, (1, 1, 1), least=0.5)
        >>> int(mask[0, 10, 10, 10]), int(mask[0, 10, 10, 19])
        (1, 0)
    """
    affine = np.diag([*map(float, spacing_mm), 1.0])
    findings = find_centres(centres.numpy(), affine, min_probability=least, most=MOST)
    _, x, y, z = probability.shape
    near = torch.zeros(x, y, z, dtype=torch.bool)
    for point_mm, diameter_mm in zip(findings.points_mm, findings.diameter_mm, strict=True):
        reach_mm = REACH * float(diameter_mm) + MARGIN_MM
        box, ball = ball_voxels((x, y, z), affine, point_mm.tolist(), reach_mm)
        near[box] |= torch.from_numpy(ball)
    return probability * near
