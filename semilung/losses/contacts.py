"""Adjacency counts of a label map, from which the non-adjacency prior is estimated."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

CHUNK = 2**20  # voxels counted at once


def count_adjacency(
    labels: Tensor, classes: int, *, dims: int | None = None, centre: bool = False
) -> Tensor:
    r"""Count the pairs of a voxel of class i and a neighbour of class j.

    $$ N_{ij} = \sum_{x} \sum_{y \in N(x), y \ne x} [\, l(x) = i \,] [\, l(y) = j \,] $$

    N(x) is the box of 3^d voxels about x. Each pair is counted from both sides, so N is
    symmetric. Labels outside the classes (255, -1) and voxels outside the map are not neighbours.
    Classes with a count of 0 never touch. With `centre=True`, x is a neighbour of
    itself, and N is |X| 3^d times the `soft_adjacency` of the one-hot map.

    Args:
        labels: l, `(*spatial)` or `(B, *spatial)`, integers.
        classes: Number of classes; labels outside `[0, classes)` are ignored.
        dims: Spatial axes, 2 or 3. By default two axes are one 2D map, three are one 3D map and
            four a batch of 3D maps; a batch of 2D maps needs `dims=2`.
        centre: Whether a voxel is its own neighbour.

    Returns:
        N, `(classes, classes)` long, on the device of `labels`.

    Raises:
        ValueError: Labels that are not integers or have other axes.

    Source: Ganaye, Sdika and Benoit-Cattin, Medical Image Analysis 2019 (the adjacency of the
    training labels, centre left out).

    Example:
        >>> count_adjacency(torch.tensor([[0, 1], [0, 255]]), 2)
        tensor([[2, 2],
                [2, 0]])
    """
    if labels.is_floating_point() or labels.is_complex():
        msg = f"labels must be integers, got {labels.dtype}"
        raise ValueError(msg)
    dims = min(labels.ndim, 3) if dims is None else dims
    if dims not in (2, 3) or labels.ndim - dims not in (0, 1):
        msg = f"labels {tuple(labels.shape)} are neither one map of {dims} axes nor a batch of them"
        raise ValueError(msg)
    counts = torch.zeros(classes, classes, dtype=torch.long, device=labels.device)
    centres = torch.zeros_like(counts)
    half = _offsets(dims)
    for sample in labels if labels.ndim > dims else labels[None]:
        rows = max(1, CHUNK // max(1, sample[:1].numel()))
        for start in range(0, sample.shape[0], rows):
            chunk = _ignore_others(sample[start : start + rows + 1], classes)
            for offset in half:
                counts += _count_pairs(chunk if offset[0] else chunk[:rows], offset, classes)
            if centre:
                centres += _count_pairs(chunk[:rows], (0,) * dims, classes)
    return counts + counts.T + centres


def _offsets(dims: int) -> list[tuple[int, ...]]:
    """Return one offset of each opposite pair, the first non-zero component positive."""
    every = itertools.product((0, 1), *[(-1, 0, 1)] * (dims - 1))
    return [offset for offset in every if offset > (0,) * dims]


def _ignore_others(labels: Tensor, classes: int) -> Tensor:
    """Return long labels, with `classes` in place of those outside `[0, classes)`."""
    labels = labels.long()
    return torch.where((labels >= 0) & (labels < classes), labels, classes)


def _count_pairs(chunk: Tensor, offset: tuple[int, ...], classes: int) -> Tensor:
    """Return `(classes, classes)` counts of the pairs that are one offset apart."""
    here, there = chunk, chunk
    for axis, step in enumerate(offset):
        inner = max(chunk.shape[axis] - abs(step), 0)
        here = here.narrow(axis, min(max(-step, 0), inner), inner)
        there = there.narrow(axis, min(max(step, 0), inner), inner)
    size = classes + 1
    pairs = torch.bincount((size * here + there).flatten(), minlength=size * size)
    return pairs.view(size, size)[:classes, :classes]
