"""Nodules of a crop, as points that follow its geometry."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from semilung.data.cache.prepared_case import PreparedCase
from semilung.data.io.grid import Shape
from semilung.data.loading.crop_geometry import Geometry
from semilung.data.manifest.nodules import UNMEASURED_MM
from semilung.data.manifest.targets import Target


def crop_nodules(
    item: PreparedCase, low: Shape, geometry: Geometry, targets: Sequence[Target] = ()
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return every nodule whose ball touches a crop.

    Beyond its borders a volume is mirrored, and its nodules with it.

    Args:
        item: A labelled or healthy case.
        low: First voxel that is read for the crop, the geometry's margin included.
        geometry: Of the crop.
        targets: T targets of characterization.

    Returns:
        `(N, 5)`: centre in voxels of the crop (x, y, z), diameter in mm (NaN where unknown) after
        the crop's zoom, and 1, or 0 for an ignored finding; and `(N, 1 + T)`: diameter in mm
        before the zoom, and the numbers of the targets, NaN where missing.
    """
    high = np.add(low, np.add(geometry.size, np.multiply(2, geometry.margin))).tolist()
    copies = [
        (nodule, copy)
        for nodule in item.nodules
        for copy in product(*map(_copies, nodule.voxel, item.shape, low, high))
    ]
    rows = [[*copy, n.diameter_mm or np.nan, float(not n.ignored)] for n, copy in copies]
    numbers = [
        [n.diameter_mm or np.nan, *(t.number(n.targets.get(t.name)) for t in targets)]
        for n, _ in copies
    ]
    nodules = np.array(rows, np.float64).reshape(-1, 5)
    nodules[:, :3] = geometry.points(nodules[:, :3] - low)
    nodules[:, 3] *= geometry.zoom
    radius_mm = np.nan_to_num(nodules[:, 3:4], nan=UNMEASURED_MM) / 2
    beyond = np.maximum(-nodules[:, :3], nodules[:, :3] - np.array(geometry.size) + 1).clip(0)
    near = np.linalg.norm(beyond * item.spacing_mm, axis=1) <= radius_mm[:, 0]
    values = np.array(numbers, np.float32).reshape(len(copies), 1 + len(targets))
    return np.asarray(nodules[near], np.float32), values[near]


def _copies(position: float, n: int, low: int, high: int) -> list[float]:
    """Return a point on an axis of n voxels and its reflections, as far as [low, high) shows them.

    A reflection is shown if what is read extends beyond the border that it lies behind.
    """
    periods = range((low - n) // (2 * n), high // (2 * n) + 2)
    points = (p + 2 * n * k for k in periods for p in (position, -1 - position))
    return [p for p in points if -0.5 <= p <= n - 0.5 or (low < 0 if p < 0 else high > n)]


def pad_nodules(nodules: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack `(N_i, C)` tensors to `(B, N, C)`, padded with NaN."""
    return torch.nn.utils.rnn.pad_sequence(list(nodules), batch_first=True, padding_value=torch.nan)
