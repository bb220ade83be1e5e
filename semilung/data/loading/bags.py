"""Bags: the crops of one scan, taken together under the scan's one label."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.grid import Shape


def bag_windows(
    rng: np.random.Generator,
    shape: Shape,
    size: Shape,
    *,
    limit: int,
    foreground: NDArray[np.int16],
) -> NDArray[np.int64]:
    """First voxels of the windows that make a scan's bag, `(n, 3)` with n at most `limit`.

    The windows tile the volume evenly. Where they are more than `limit`, a random choice of them is
    kept, among them one that holds a nodule where its place is known; a weak scan's bag may then
    miss its nodule, so let `limit` cover the scan where memory allows (instances run in chunks).

    Args:
        rng: Source of randomness.
        shape: Size of the volume in voxels.
        size: Size of a window in voxels.
        limit: Largest number of instances.
        foreground: `(M, 3)` known nodule voxels; M may be 0.
    """
    axes = [_tiles(n, s) for n, s in zip(shape, size, strict=True)]
    windows = np.array(list(product(*axes)), np.int64)
    if len(windows) <= limit:
        return windows
    kept = rng.permutation(len(windows))
    if len(foreground):
        voxel = foreground[rng.integers(len(foreground))]
        inside = ((windows <= voxel) & (voxel < windows + np.array(size))).all(axis=1)
        kept = np.concatenate([kept[inside[kept]], kept[~inside[kept]]])
    return windows[np.sort(kept[:limit])]


def _tiles(n: int, size: int) -> NDArray[np.int64]:
    """Evenly spaced starts whose windows cover `n` voxels; a shorter volume lies in the middle."""
    count = max(1, -(-n // size))
    if count == 1:
        return np.array([(n - size) // 2])
    return np.rint(np.linspace(0, n - size, count)).astype(np.int64)
