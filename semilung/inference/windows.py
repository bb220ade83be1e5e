"""Sliding windows: positions, restriction to the lungs, and Gaussian weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from numpy.typing import NDArray
from torch import Tensor

from semilung.data.content.lungs import BLOCK
from semilung.data.io.grid import Shape
from semilung.types import UserError

MAX_WINDOWS = 2**20
"""Maximum number of windows of a volume: weeks on a CPU."""

Starts: TypeAlias = NDArray[np.int64]
"""`(N, 3)`, the first voxel of each window."""


def window_starts(shape: Shape, window: Shape, overlap: float, stride: int = 1) -> Starts:
    """Return the first voxels of the windows that cover a volume, in MONAI's order.

    Args:
        shape: Of the volume; a multiple of the stride.
        window: Size of a window; a multiple of the stride.
        overlap: Share of a window that the next one overlaps, in [0, 1).
        stride: Windows start at multiples of it.

    Example:
        >>> window_starts((10, 4, 4), (4, 4, 4), 0.5)[:, 0].tolist()
        [0, 2, 4, 6]

    Raises:
        UserError: More than `MAX_WINDOWS`.
    """
    steps = [
        size if size == n else max(1, int(size * (1 - overlap)) // stride) * stride
        for n, size in zip(shape, window, strict=True)
    ]
    count = math.prod(
        1 + -(-(n - size) // step) for n, size, step in zip(shape, window, steps, strict=True)
    )
    if count > MAX_WINDOWS:
        msg = (
            f"inference.window={list(window)} with inference.overlap={overlap} covers "
            f"{' x '.join(map(str, shape))} voxels in {count} windows, more than {MAX_WINDOWS}; "
            "set a larger window or less overlap"
        )
        raise UserError(msg)
    slices = dense_patch_slices(shape, window, steps, return_slice=False)
    return np.array(slices, np.int64)[..., 0]


def touching(starts: Starts, window: Shape, blocks: NDArray[np.bool_]) -> Starts:
    """Return the windows that touch a marked block, or all windows if no block is marked.

    Every window with a voxel of a marked block is kept, so the probability of that voxel is the
    same as without skipping.

    Args:
        starts: First voxels of the windows.
        window: Size of a window in voxels.
        blocks: Blocks of `BLOCK` voxels a side, true with lung.
    """
    if not blocks.any():
        return starts
    lows, highs = starts // BLOCK, -(-(starts + np.array(window)) // BLOCK)
    touches = [blocks[box(low, high - low)].any() for low, high in zip(lows, highs, strict=True)]
    return starts[np.array(touches)]


def gaussian_weights(window: Shape) -> Tensor:
    """Return MONAI's Gaussian weights of a window, `(X, Y, Z)`, of an eighth of its size."""
    weights: Tensor = compute_importance_map(window, mode="gaussian", sigma_scale=0.125)
    return weights


def divide_by_weights(total: Tensor, weights: Tensor, starts: Starts) -> None:
    """Divide sums of weighted values by the sums of weights, in place; 0 without a window.

    Computed block by block, so that the sum of weights needs no volume.

    Args:
        total: `(K, X, Y, Z)`, the sum over windows of weight times value.
        weights: Weights of one window.
        starts: First voxels of the windows in the sum.
    """
    size = np.array(weights.shape)
    for low in _tiles(total.shape[1:], weights.shape):
        block = total[(slice(None), *box(low, size))]
        share = torch.zeros_like(block[0])
        for start in starts[(np.abs(starts - low) < size).all(axis=1)]:
            first = np.maximum(start, low)
            extent = np.minimum(np.minimum(start, low) + size, low + block.shape[1:]) - first
            share[box(first - low, extent)] += weights[box(first - start, extent)]
        block.div_(share.clamp_(min=torch.finfo(share.dtype).tiny))


def box(start: NDArray[Any], size: NDArray[Any]) -> tuple[slice, ...]:
    """Return the slices of a box of `size` voxels from `start`."""
    return tuple(slice(int(a), int(a + n)) for a, n in zip(start, size, strict=True))


def coarse_box(cut: Sequence[slice], stride: int) -> tuple[slice, ...]:
    """Return the slices of a box in voxels of a head at a stride; the box starts at multiples.

    Example:
        >>> coarse_box([slice(4, 7)], 2)
        (slice(2, 4, None),)
    """
    return tuple(slice(s.start // stride, -(-s.stop // stride)) for s in cut)


def _tiles(shape: Sequence[int], size: Sequence[int]) -> Iterator[NDArray[np.int64]]:
    axes = (range(0, n, s) for n, s in zip(shape, size, strict=True))
    yield from (np.array(low) for low in product(*axes))
