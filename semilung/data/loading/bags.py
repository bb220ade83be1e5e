"""Bags for multiple-instance learning: the crops of a scan under its scan-level label."""

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
    """Return the first voxels of the windows of a scan's bag, `(n, 3)` with n at most `limit`.

    The windows tile the volume evenly. Of more than `limit` windows a random subset is kept, with
    one that holds a nodule where its position is known. The bag of a weak scan may then miss its
    nodule, so let `limit` cover the scan where memory allows (instances run in chunks).

    Args:
        rng: Source of randomness.
        shape: Size of the volume in voxels.
        size: Size of a window in voxels.
        limit: Largest number of instances.
        foreground: `(M, 3)` nodule voxels; M may be 0.
    """
    axes = [_tiles(n, s) for n, s in zip(shape, size, strict=True)]
    windows = np.array(list(product(*axes)), np.int64)
    if len(windows) <= limit:
        return windows
    order = rng.permutation(len(windows))
    if len(foreground):
        voxel = foreground[rng.integers(len(foreground))]
        inside = ((windows <= voxel) & (voxel < windows + np.array(size))).all(axis=1)
        order = np.concatenate([order[inside[order]], order[~inside[order]]])
    return windows[np.sort(order[:limit])]


def _tiles(n: int, size: int) -> NDArray[np.int64]:
    """Return evenly spaced starts of windows that cover `n` voxels; a shorter volume is centred."""
    count = max(1, -(-n // size))
    if count == 1:
        return np.array([(n - size) // 2])
    return np.rint(np.linspace(0, n - size, count)).astype(np.int64)
