"""Penalty-reduced focal loss of centre heatmaps (CornerNet, CenterNet)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semilung.losses.activation import wide


def heatmap_focal_loss(
    logits: Tensor,
    heatmap: Tensor,
    *,
    weight: Tensor | None = None,
    alpha: float = 2.0,
    beta: float = 4.0,
) -> Tensor:
    r"""Focal loss of a centre heatmap, reduced around the centres, a mean over samples.

    $$ L = \frac{1}{B} \sum_b \frac{-1}{\max(1, N)} \sum_x w(x) \, f(x) $$

    where $f = (1 - p)^\alpha \log p$ at centres, y = 1, and elsewhere
    $f = (1 - y)^\beta \, p^\alpha \log(1 - p)$.

    N is the number of centres of the sample: voxels with y = 1 and w > 0. On a sample without
    centres, such as a healthy one, the sum over all voxels remains, and a false peak costs as much
    as a missed nodule does elsewhere.

    Args:
        logits: `(B, C, *spatial)`; p is their sigmoid.
        heatmap: y in [0, 1], of the same shape, exactly 1 at the voxels of centres.
        weight: w, at least 0, `(B, 1, *spatial)` or of the shape of the logits; 0 ignores a voxel,
            whatever its logit and target. None weighs all alike.
        alpha: Focus on hard voxels, at least 0.
        beta: Reduction next to centres, at least 0; 0 treats all voxels but the centres alike.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: Shapes that do not match, a target outside [0, 1] where it counts, or a negative
            exponent.

    Source: Law and Deng, CornerNet, ECCV 2018; Zhou et al., Objects as points, 2019.

    Example:
        >>> heatmap = torch.tensor([0.0, 0.5, 1.0, 0.5]).view(1, 1, 4)
        >>> round(float(heatmap_focal_loss(torch.zeros(1, 1, 4), heatmap)), 4)
        0.3682
    """
    if heatmap.shape != logits.shape:
        msg = f"heatmap {tuple(heatmap.shape)} does not match logits {tuple(logits.shape)}"
        raise ValueError(msg)
    if min(alpha, beta) < 0:
        name, value = ("alpha", alpha) if alpha < 0 else ("beta", beta)
        raise ValueError(f"{name} must be at least 0, got {value}")
    logits = logits.to(wide(logits))
    weights = _weights(weight, logits)
    counted = weights > 0
    logits = torch.where(counted, logits, 0.0)  # not even a NaN counts in an ignored voxel
    y = torch.where(counted, heatmap.to(logits.dtype), 0.0)
    if not bool(((y >= 0) & (y <= 1)).all()):
        raise ValueError("heatmap has values outside [0, 1]")
    centre = y == 1
    # with log-sigmoids: p rounds to 0 and 1 long before its logarithm matters
    positive = (alpha * F.logsigmoid(-logits)).exp() * F.logsigmoid(logits)
    negative = (alpha * F.logsigmoid(logits)).exp() * F.logsigmoid(-logits)
    values = torch.where(centre, positive, (1 - y) ** beta * negative) * weights
    centres = centre.flatten(1).sum(dim=1).clamp(min=1)
    return -(values.flatten(1).sum(dim=1) / centres).mean()


def _weights(weight: Tensor | None, logits: Tensor) -> Tensor:
    if weight is None:
        return torch.ones_like(logits)
    if weight.shape not in (logits.shape, (logits.shape[0], 1, *logits.shape[2:])):
        msg = f"weight {tuple(weight.shape)} does not match logits {tuple(logits.shape)}"
        raise ValueError(msg)
    return weight.to(logits.dtype).expand_as(logits)
