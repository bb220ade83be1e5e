"""Soft Dice and cross-entropy on labelled voxels."""

from __future__ import annotations

import torch
from torch import Tensor

from semilung.losses.activation import cross_entropy, masked_mean, probabilities, wide


def dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    ignore: int = 255,
    smooth: float = 1.0,
) -> Tensor:
    r"""Weighted sum of the soft Dice loss and the cross-entropy, a mean over samples.

    $$ L = w_d \Big(1 - \frac{1}{|K|} \sum_{k \in K} \frac{2 \sum_x p_k t_k + s}
       {\sum_x p_k + \sum_x t_k + s}\Big) + w_c \; \frac{1}{|X|} \sum_x -\log p_{t(x)}(x) $$

    K are the foreground classes present in the sample. An absent class has no Dice term: soft Dice
    against an empty target has almost no gradient and only adds a constant, so its voxels are left
    to the cross-entropy (and healthy scans to `healthy_loss`).

    Args:
        logits: `(B, C, *spatial)`; `C = 1` is a binary foreground logit.
        target: `(B, 1, *spatial)` class numbers; `ignore` marks voxels to leave out.
        dice_weight: w_d, at least 0.
        ce_weight: w_c, at least 0.
        ignore: The value of `target` to leave out.
        smooth: s, in voxels; damps the Dice of very small targets.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: Shapes that do not match, or a target outside the classes of the logits.

    Source: Milletari et al., V-Net, 3DV 2016 (soft Dice).

    Example:
        >>> target = torch.zeros(1, 1, 4, 4, 4); target[..., :2] = 1
        >>> float(dice_ce_loss(40 * target - 20, target)) < 1e-6
        True
    """
    if target.shape != (logits.shape[0], 1, *logits.shape[2:]):
        msg = f"target {tuple(target.shape)} does not match logits {tuple(logits.shape)}"
        raise ValueError(msg)
    valid = target != ignore
    labels = torch.where(valid, target, 0)
    logits = torch.where(valid, logits, 0.0)  # not even a NaN counts in an ignored voxel
    _require_classes(labels, max(logits.shape[1], 2))
    ce = masked_mean(cross_entropy(logits, labels), valid[:, 0])
    per_sample = ce_weight * ce
    if dice_weight:
        per_sample = per_sample + dice_weight * _dice(logits, labels, valid, smooth)
    return per_sample.mean()


def _require_classes(labels: Tensor, classes: int) -> None:
    if labels.is_floating_point() and bool((labels != labels.round()).any()):
        raise ValueError("target has values that are not class numbers, such as fractions or NaN")
    low, high = (int(end) for end in labels.aminmax())
    if low < 0 or high >= classes:
        raise ValueError(
            f"target has classes {low} to {high}, but the logits have {classes} classes"
        )


def _dice(logits: Tensor, labels: Tensor, valid: Tensor, smooth: float) -> Tensor:
    """Return the soft Dice loss `(B,)` over the classes present in each sample; 0 without any."""
    probs = probabilities(logits).to(wide(logits))
    probs = probs if logits.shape[1] == 1 else probs[:, 1:]
    classes = torch.arange(1, probs.shape[1] + 1, device=labels.device)
    target = (labels == classes.view(1, -1, *[1] * (labels.ndim - 2))).to(probs.dtype)
    probs = probs * valid
    overlap = (probs * target).flatten(2).sum(2)
    size = probs.flatten(2).sum(2) + target.flatten(2).sum(2)
    dice = (2 * overlap + smooth) / (size + smooth)
    present = target.flatten(2).any(2)
    return ((1 - dice) * present).sum(1) / present.sum(1).clamp(min=1)
