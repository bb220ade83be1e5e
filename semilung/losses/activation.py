"""From logits to probabilities, for one channel and for many."""

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


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Voxel-wise cross-entropy `-log p_target`, not reduced.

    Args:
        logits: `(B, C, *spatial)`.
        target: `(B, 1, *spatial)` class numbers in `[0, max(C, 2))`.

    Returns:
        `(B, *spatial)`, at least 0.
    """
    if logits.shape[1] == 1:
        bce = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
        return bce[:, 0]
    return F.cross_entropy(logits, target[:, 0].long(), reduction="none")


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Per-sample mean over the voxels where `mask` is true; 0 where there are none.

    Args:
        values: `(B, *spatial)`.
        mask: `(B, *spatial)` bool, or None for all voxels.

    Returns:
        `(B,)`.
    """
    if mask is None:
        return values.flatten(1).mean(dim=1)
    kept = torch.where(mask, values, 0.0).flatten(1).sum(dim=1)
    return kept / mask.flatten(1).sum(dim=1).clamp(min=1)
