"""Instance embeddings and scores of bags, computed in chunks with bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semilung.losses.activation import wide


class Instances(NamedTuple):
    """The described instances of B bags, padded to the largest bag's N.

    Attributes:
        embeddings: `(B, N, D)`.
        scores: `(B, N)` logits, the voxel head's.
        mask: `(B, N)` bool, which instances are real; the others are zeros.
    """

    embeddings: Tensor
    scores: Tensor
    mask: Tensor


def describe_bags(
    student: Callable[[Tensor], dict[str, Tensor]],
    bags: Sequence[tuple[Tensor, Tensor]],
    *,
    chunk: int,
    voxel_share: float,
) -> Instances:
    """Embeddings and scores of the real crops of all bags.

    Where there are more crops than `chunk`, each chunk runs under a checkpoint of its own: forward
    keeps its crops, embeddings and scores, and backward runs it again. So memory is one chunk's,
    however large the bags, and values and gradients are those of a single run.

    Args:
        student: Images to named outputs with `logits` and `embedding`.
        bags: Of each stream, the crops `(b, N, 1, X, Y, Z)` and which are real `(b, N)`.
        chunk: Crops that run at once.
        voxel_share: See `top_voxels`.

    Returns:
        The instances of all bags, streams in their order; an embedding is the mean and the maximum
        over space of the head `embedding`.
    """

    def describe(crops: Tensor) -> tuple[Tensor, Tensor]:
        out = student(crops)
        maps = out["embedding"].flatten(2)
        maps = maps.to(wide(maps))
        embeddings = torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1)
        return embeddings, top_voxels(out["logits"], voxel_share)

    crops = torch.cat([bag[real] for bag, real in bags])
    count = len(crops)
    if not count:  # one crop of padding, dropped below, says how long an embedding is
        crops = bags[0][0][:1, 0]
    if len(crops) <= chunk:
        embeddings, scores = describe(crops)
    else:
        parts = [
            checkpoint(describe, part, use_reentrant=False) for part in torch.split(crops, chunk)
        ]
        embeddings, scores = (torch.cat(each) for each in zip(*parts, strict=True))
    largest = max(real.shape[1] for _, real in bags)
    mask = torch.cat([F.pad(real, (0, largest - real.shape[1])) for _, real in bags])
    return Instances(_at(mask, embeddings[:count]), _at(mask, scores[:count]), mask)


def top_voxels(logits: Tensor, share: float) -> Tensor:
    """Mean of each crop's largest voxel logits, those of a nodule where it holds one.

    Args:
        logits: `(n, C, X, Y, Z)`; of several channels, the odds of the foreground count.
        share: Share of the voxels, in (0, 1]; at least one voxel counts.

    Returns:
        `(n,)` logits.

    Example:
        >>> top_voxels(torch.arange(8.0).view(1, 1, 2, 2, 2), 0.25)
        tensor([6.5000])
    """
    if logits.shape[1] > 1:
        logits = logits[:, 1:].logsumexp(dim=1, keepdim=True) - logits[:, :1]
    voxels = logits.flatten(1)
    count = math.ceil(share * voxels.shape[1])
    return voxels.topk(count, dim=1).values.mean(dim=1, dtype=wide(voxels))


def _at(mask: Tensor, values: Tensor) -> Tensor:
    """Real instances at their places among the padding, bag by bag."""
    padded = values.new_zeros(*mask.shape, *values.shape[1:])
    padded[mask] = values
    return padded
