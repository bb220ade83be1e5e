"""Shared helpers of losses: activations, binary channels as two classes, masked means."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def probabilities(logits: Tensor) -> Tensor:
    """Class probabilities: the sigmoid of one channel, the softmax of several.

    Args:
        logits: `(B, C, *spatial)`; `C = 1` is a binary foreground logit.

    Returns:
        `(B, C, *spatial)` in [0, 1].

    Example:
        >>> probabilities(torch.zeros(1, 1, 2, 2)).unique()
        tensor([0.5000])
    """
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def distribution(probs: Tensor) -> Tensor:
    """All class probabilities: `(1 - p, p)` of one channel, several channels as they are.

    Args:
        probs: `(B, C, *spatial)` in [0, 1].

    Returns:
        `(B, K, *spatial)` with `K = max(C, 2)`.
    """
    return torch.cat([1 - probs, probs], dim=1) if probs.shape[1] == 1 else probs


def hard_labels(probs: Tensor) -> Tensor:
    """The likeliest class of each voxel; one channel is foreground above 1/2.

    Args:
        probs: `(B, C, *spatial)` in [0, 1].

    Returns:
        `(B, 1, *spatial)` class numbers in `[0, max(C, 2))`; no gradient flows through them.

    Example:
        >>> hard_labels(torch.tensor([0.4, 0.6]).view(1, 1, 2, 1)).flatten()
        tensor([0, 1])
    """
    return (probs > 0.5).long() if probs.shape[1] == 1 else probs.argmax(dim=1, keepdim=True)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Voxel-wise cross-entropy `-log p_target`, not reduced.

    Args:
        logits: `(B, C, *spatial)`.
        target: `(B, 1, *spatial)` class numbers in `[0, max(C, 2))`.

    Returns:
        `(B, *spatial)`, at least 0 and at least float32, as half precision would cancel the small
        losses of sure voxels.
    """
    logits = logits.to(wide(logits))
    if logits.shape[1] == 1:
        bce = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
        return bce[:, 0]
    return F.cross_entropy(logits, target[:, 0].long(), reduction="none")


def voxel_mask(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """The mask without its channel, `(B, *spatial)`, or None; refuses one that does not fit.

    Args:
        mask: `(B, 1, *spatial)` bool, or None for all voxels.
        like: `(B, C, *spatial)`, the prediction that it masks.
    """
    if mask is None:
        return None
    if mask.shape != (like.shape[0], 1, *like.shape[2:]):
        msg = f"mask {tuple(mask.shape)} does not fit a prediction of {tuple(like.shape)}"
        raise ValueError(msg)
    return mask[:, 0]


def wide(values: Tensor) -> torch.dtype:
    """The type to sum `values` in: float32 for half precision, whose sums overflow or stall."""
    return torch.promote_types(values.dtype, torch.float32)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Per-sample mean over the voxels where `mask` is true; 0 where there are none.

    Args:
        values: `(B, *spatial)`.
        mask: `(B, *spatial)` bool, or None for all voxels.

    Returns:
        `(B,)`, at least float32.
    """
    if mask is None:
        return values.flatten(1).mean(dim=1, dtype=wide(values))
    kept = torch.where(mask, values, 0.0).flatten(1).sum(dim=1, dtype=wide(values))
    return kept / mask.flatten(1).sum(dim=1).clamp(min=1)
