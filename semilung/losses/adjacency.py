"""Soft adjacency matrix of the classes in a probability map."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from semilung.losses.activation import distribution, wide

SLABS = 8  # per sample, so that temporaries are a fraction of it


def soft_adjacency(probs: Tensor) -> Tensor:
    r"""Soft adjacency matrix of the classes, a mean over voxels and samples.

    $$ A_{ij} = \frac{1}{B |X|} \sum_{b,x} p_i(x) \, q_j(x), \qquad
       q_j(x) = \frac{1}{3^d} \sum_{y \in N(x)} p_j(y) $$

    N(x) is the box of 3^d voxels about x, x included, with zeros beyond the border. As the centre
    counts, uncertainty between two classes in one voxel is contact too. A is symmetric.

    The box means are never stored whole: forward and backward process the sample slab by
    slab. In addition to `probs` and its gradient, both need a fraction of one sample.

    Args:
        probs: p, `(B, C, *spatial)` in [0, 1], 2D or 3D; one channel means `(1 - p, p)`.

    Returns:
        A, `(K, K)` with `K = max(C, 2)`, at least float32.

    Source: Ganaye, Sdika and Benoit-Cattin, Semi-supervised learning for segmentation under
    semantic constraint, MICCAI 2018, there in 2D.

    Example:
        >>> halves = torch.tensor([[1.0, 0], [1, 0]])
        >>> 4 * 9 * soft_adjacency(torch.stack([halves, 1 - halves])[None])
        tensor([[4., 4.],
                [4., 4.]])
    """
    adjacency: Tensor = _SoftAdjacency.apply(distribution(probs))  # type: ignore[no-untyped-call]
    return adjacency


class _SoftAdjacency(torch.autograd.Function):
    """A = P Qᵀ / n with Q = P K and K the symmetric box filter, so dL/dP = (G + Gᵀ) Q / n."""

    @staticmethod
    def forward(ctx: Any, probs: Tensor) -> Tensor:
        ctx.save_for_backward(probs)
        classes = probs.shape[1]
        total = probs.new_zeros(classes, classes, dtype=wide(probs))
        with torch.autocast(probs.device.type, enabled=False):
            for sample, rows in _slabs(probs):
                centre = probs[sample, :, rows].to(total.dtype).flatten(1)
                total += centre @ _box_sum(probs[sample], rows).flatten(1).T
        return total / _pairs(probs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (probs,) = ctx.saved_tensors
        both = (gradient + gradient.T) / _pairs(probs)
        result = torch.empty_like(probs)
        with torch.autocast(probs.device.type, enabled=False):
            for sample, rows in _slabs(probs):
                sums = _box_sum(probs[sample], rows)
                result[sample, :, rows] = (both @ sums.flatten(1)).view_as(sums)
        return result


def _pairs(probs: Tensor) -> int:
    """Return the number of pairs that are averaged: B |X| 3^d."""
    return probs[:, 0].numel() * int(3 ** (probs.ndim - 2))


def _slabs(probs: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield the sample and the rows of the first spatial axis of every slab."""
    size = probs.shape[2]
    thickness = math.ceil(size / SLABS)
    for sample in range(probs.shape[0]):
        for start in range(0, size, thickness):
            yield sample, slice(start, min(start + thickness, size))


def _box_sum(probs: Tensor, rows: slice) -> Tensor:
    """Return the sum over the 3^d box of each voxel of the rows, `(C, rows, ...)`."""
    low = max(rows.start - 1, 0)
    total = probs[:, low : rows.stop + 1].to(wide(probs))
    for axis in range(1, probs.ndim):
        inner = total.shape[axis] - 1
        part = total.clone()
        part.narrow(axis, 0, inner).add_(total.narrow(axis, 1, inner))
        part.narrow(axis, 1, inner).add_(total.narrow(axis, 0, inner))
        total = part
        if axis == 1:
            total = total[:, rows.start - low : rows.stop - low]
    return total
