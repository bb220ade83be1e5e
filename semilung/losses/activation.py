"""Shared helpers of the losses: activations, class distributions, masked means."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def probabilities(logits: Tensor) -> Tensor:
    """Return class probabilities: the sigmoid of one channel, the softmax of several.

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
    """Return the probabilities of all classes: `(1 - p, p)` for a single channel p.

    Args:
        probs: `(B, C, *spatial)` in [0, 1].

    Returns:
        `(B, K, *spatial)` with `K = max(C, 2)`.
    """
    return torch.cat([1 - probs, probs], dim=1) if probs.shape[1] == 1 else probs


def hard_labels(probs: Tensor) -> Tensor:
    """Return the most likely class of each voxel; one channel is foreground above 1/2.

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
    """Return the voxel-wise cross-entropy `-log p_target`, not reduced.

    Args:
        logits: `(B, C, *spatial)`.
        target: `(B, 1, *spatial)` class numbers in `[0, max(C, 2))`.

    Returns:
        `(B, *spatial)`, at least 0, in float32 or wider: half precision would round the small
        losses of confident voxels to 0.
    """
    logits = logits.to(wide(logits))
    if logits.shape[1] == 1:
        bce = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
        return bce[:, 0]
    return F.cross_entropy(logits, target[:, 0].long(), reduction="none")


def log_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of foreground and background, finite for all finite logits.

    Args:
        logits: `(B, C, *spatial)`; one foreground logit, or several classes with background first,
            the others of which are foreground together.

    Returns:
        Two `(B, *spatial)`, at most 0, in float32 or wider.

    Example:
        >>> foreground, background = log_probabilities(torch.tensor([[[0.0]], [[-200.0]]]))
        >>> foreground.flatten().tolist()[1], background.flatten().tolist()[1]
        (-200.0, 0.0)
    """
    logits = logits.to(wide(logits))
    if logits.shape[1] == 1:
        return F.logsigmoid(logits[:, 0]), F.logsigmoid(-logits[:, 0])
    log_p = logits.log_softmax(dim=1)
    return log_p[:, 1:].logsumexp(dim=1), log_p[:, 0]


def voxel_mask(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """Return the mask without its channel, `(B, *spatial)`, or None.

    Args:
        mask: `(B, 1, *spatial)` bool, or None for all voxels.
        like: `(B, C, *spatial)`, the masked prediction.

    Raises:
        ValueError: The shapes do not match.
    """
    if mask is None:
        return None
    if mask.shape != (like.shape[0], 1, *like.shape[2:]):
        msg = f"mask {tuple(mask.shape)} does not match a prediction of {tuple(like.shape)}"
        raise ValueError(msg)
    return mask[:, 0]


def wide(values: Tensor) -> torch.dtype:
    """Return the dtype to sum in: float32 for half precision, whose sums overflow or stall."""
    return torch.promote_types(values.dtype, torch.float32)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the per-sample mean over the voxels of a mask, 0 if it is empty.

    Args:
        values: `(B, *spatial)`.
        mask: `(B, *spatial)` bool, or None for all voxels.

    Returns:
        `(B,)`, at least float32.
    """
    if mask is None:
        return values.flatten(1).mean(dim=1, dtype=wide(values))
    total = torch.where(mask, values, 0.0).flatten(1).sum(dim=1, dtype=wide(values))
    return total / mask.flatten(1).sum(dim=1).clamp(min=1)
