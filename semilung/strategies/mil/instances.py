"""Instance embeddings and scores of bags, computed in chunks to bound memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semilung.losses.activation import wide
from semilung.strategies.core.centre_maps import CENTRES, centre_maps


class Instances(NamedTuple):
    """Instances of B bags, padded to the N of the largest bag.

    Attributes:
        mask: `(B, N)` bool, true for real instances; padding is zero.
        embeddings: `(B, N, D)`.
        voxels: `(B, N)` logits of the voxel head, where segmentation is a task.
        peaks: `(B, N)` logits of the loudest peak of centres, where detection is a task.
    """

    mask: Tensor
    embeddings: Tensor
    voxels: Tensor | None = None
    peaks: Tensor | None = None


def describe_bags(
    student: Callable[[Tensor], dict[str, Tensor]],
    bags: Sequence[tuple[Tensor, Tensor]],
    *,
    chunk: int,
    voxel_share: float,
) -> Instances:
    """Compute embeddings and scores of the real crops of all bags.

    With more crops than `chunk`, each chunk runs under activation checkpointing: forward stores its
    crops, embeddings and scores, and backward recomputes it. Memory is that of one chunk, and
    values and gradients equal those of a single run.

    Args:
        student: Maps images to named outputs with `embedding`, and those of the tasks.
        bags: Crops `(b, N, 1, X, Y, Z)` and mask of real crops `(b, N)` of each stream.
        chunk: Number of crops in a forward pass.
        voxel_share: See `top_voxels`.

    Returns:
        The instances of all bags in the order of the streams; an embedding is the spatial mean and
        maximum of the head `embedding`.
    """

    def describe(crops: Tensor) -> dict[str, Tensor]:
        out = student(crops)
        maps = out["embedding"].flatten(2)
        maps = maps.to(wide(maps))
        values = {"embeddings": torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1)}
        if "logits" in out:
            values["voxels"] = top_voxels(out["logits"], voxel_share)
        if CENTRES in out:
            values["peaks"] = loudest_peak(out[CENTRES])
        return values

    crops = torch.cat([bag[real] for bag, real in bags])
    count = len(crops)
    if not count:  # one padding crop, dropped below, yields the length of an embedding
        crops = bags[0][0][:1, 0]
    if len(crops) <= chunk:
        values = describe(crops)
    else:
        parts = [
            checkpoint(describe, part, use_reentrant=False) for part in torch.split(crops, chunk)
        ]
        values = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    largest = max(real.shape[1] for _, real in bags)
    mask = torch.cat([F.pad(real, (0, largest - real.shape[1])) for _, real in bags])
    return Instances(mask, **{name: _at(mask, each[:count]) for name, each in values.items()})


def loudest_peak(output: Tensor) -> Tensor:
    """Return the largest logit of each crop's centre heatmap.

    Args:
        output: Of the head of detection, `(n, 5, X', Y', Z')`.

    Returns:
        `(n,)` logits.
    """
    logits = centre_maps(output).logits.flatten(1)
    return logits.to(wide(logits)).amax(dim=1)


def top_voxels(logits: Tensor, share: float) -> Tensor:
    """Return the mean of the largest voxel logits of each crop.

    Args:
        logits: `(n, C, X, Y, Z)`; of several channels, the log-odds of foreground are used.
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
    """Scatter the values of real instances into the padded array."""
    padded = values.new_zeros(*mask.shape, *values.shape[1:])
    padded[mask] = values
    return padded
