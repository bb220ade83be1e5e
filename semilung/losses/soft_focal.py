"""Focal loss of soft targets (FocalMix)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semilung.losses.activation import wide


def soft_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    alpha: float = 0.95,
    gamma: float = 2.0,
) -> Tensor:
    r"""Focal loss of soft targets, per positive, a mean over samples.

    $$ L = \frac{1}{B} \sum_b \frac{1}{\max(1, \sum_x w(x) y(x))} \sum_x w(x) \,
       \big[ \alpha_0 + y (\alpha_1 - \alpha_0) \big] \, |y - p|^\gamma \,
       \big( -y \log p - (1 - y) \log(1 - p) \big) $$

    with p the sigmoid of the logit, $\alpha_1 = \alpha$ and $\alpha_0 = 1 - \alpha$. For y of 0 or
    1 this is the focal loss of Lin et al., which is divided by the number of positives. It is least
    at p = y, also between them.

    Args:
        logits: `(B, C, *spatial)`.
        target: y in [0, 1], of the same shape.
        weight: w, at least 0, `(B, 1, *spatial)`; 0 ignores a voxel. None weighs all alike.
        alpha: Weight of positives, in [0, 1]; that of negatives is 1 - alpha.
        gamma: Focus on voxels far from their target: 0, or at least 1, since below 1 the gradient
            is infinite at p = y.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: Shapes that do not match, a target outside [0, 1], an option out of its range.

    Source: Wang et al., FocalMix, CVPR 2020; Lin et al., Focal loss, ICCV 2017.

    Example:
        >>> loss = soft_focal_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.5]]]))
        >>> round(float(loss), 4)  # 0.95 / 4 ln 2 at y = 1, 0 at y = p, divided by 1.5
        0.1097
    """
    if target.shape != logits.shape:
        msg = f"target {tuple(target.shape)} does not match logits {tuple(logits.shape)}"
        raise ValueError(msg)
    if weight is not None and weight.shape != (len(logits), 1, *logits.shape[2:]):
        msg = f"weight {tuple(weight.shape)} does not match logits {tuple(logits.shape)}"
        raise ValueError(msg)
    if not 0 <= alpha <= 1 or not (gamma == 0 or gamma >= 1):
        msg = f"alpha must be in [0, 1] and gamma 0 or at least 1, got {alpha} and {gamma}"
        raise ValueError(msg)
    logits = logits.to(wide(logits))
    y = target.to(logits.dtype)
    if not bool(((y >= 0) & (y <= 1)).all()):
        raise ValueError("target has values outside [0, 1]")
    weights = torch.ones_like(y) if weight is None else weight.to(y.dtype).expand_as(y)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    balance = (1 - alpha) + y * (2 * alpha - 1)
    values = weights * balance * (y - logits.sigmoid()).abs() ** gamma * cross_entropy
    positives = (weights * y).flatten(1).sum(dim=1).clamp(min=1)
    return (values.flatten(1).sum(dim=1) / positives).mean()
