"""Findings of centre maps: peaks, and the removal of weaker ones within a stronger."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from torch import Tensor

from semilung.data.io.grid import Affine
from semilung.inference.outputs import at_stride
from semilung.strategies.core.centre_maps import DIAMETERS_MM, STRIDE, centre_maps


class Centres(NamedTuple):
    """Predicted nodules, the most probable first.

    Attributes:
        points_mm: `(N, 3)` RAS+.
        probability: `(N,)` in [0, 1].
        diameter_mm: `(N,)`.
    """

    points_mm: NDArray[np.float64]
    probability: NDArray[np.float64]
    diameter_mm: NDArray[np.float64]


@at_stride(STRIDE, vector=(1, 2, 3))
def centre_values(output: Tensor) -> Tensor:
    """Return probability, offset (3 channels) and log-diameter of the head's output, float32."""
    maps = centre_maps(output.float())
    return torch.cat([maps.logits.sigmoid(), maps.offset, maps.log_diameter], dim=1)


def find_centres(
    values: NDArray[np.float32], affine: Affine, *, min_probability: float, most: int
) -> Centres:
    """Return the peaks of centre maps, without those within the radius of a more probable one.

    A peak is a voxel of the maps that none of its 26 neighbours exceeds.

    Args:
        values: `(5, X', Y', Z')`, as `centre_values` gives them.
        affine: `(4, 4)`, voxels of the image, not of the maps, to RAS+ mm.
        min_probability: Least probability of a peak.
        most: Number of findings, the most probable ones.

    Example:
        >>> values = np.zeros((5, 4, 4, 4), np.float32)
        >>> values[:, 1, 2, 3] = [0.9, 0.5, 0, 0, np.log(8)]
        >>> find_centres(values, np.eye(4), min_probability=0.1, most=10).points_mm.tolist()
        [[3.5, 4.5, 6.5]]
    """
    probability = values[0]
    peaks = probability == ndimage.maximum_filter(probability, size=3, mode="nearest")
    voxels = np.argwhere(peaks & (probability >= min_probability))
    order = np.argsort(-probability[tuple(voxels.T)], kind="stable")
    voxels = voxels[order]
    rows = values[(slice(None), *voxels.T)].astype(np.float64)
    image = (voxels + rows[1:4].T + 0.5) * STRIDE - 0.5
    points_mm = image @ affine[:3, :3].T + affine[:3, 3]
    diameter_mm = np.exp(np.clip(rows[4], *np.log(DIAMETERS_MM)))
    chosen = _not_within(points_mm, diameter_mm / 2, most)
    return Centres(points_mm[chosen], rows[0, chosen], diameter_mm[chosen])


def _not_within(
    points_mm: NDArray[np.float64], radius_mm: NDArray[np.float64], most: int
) -> list[int]:
    """Return the points, in their order, that lie in the ball of none that was chosen before."""
    if not len(points_mm):
        return []
    near = KDTree(points_mm).query_ball_point(points_mm, radius_mm)
    chosen: list[int] = []
    removed = np.zeros(len(points_mm), bool)
    for index in range(len(points_mm)):
        if not removed[index]:
            chosen.append(index)
            removed[near[index]] = True
        if len(chosen) == most:
            break
    return chosen
