"""Background loss of healthy scans, in which every voxel is a known negative."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semilung.losses.activation import cross_entropy


def healthy_loss(logits: Tensor, *, hardest: float = 1.0) -> Tensor:
    r"""Cross-entropy against background everywhere, over the hardest share of the voxels.

    $$ L = \frac{1}{k} \sum_{x \in \mathrm{top}_k} -\log p_0(x), \qquad k = \lceil h |X| \rceil $$

    Unlike soft Dice on an empty target, it has a gradient wherever the net predicts foreground. A
    small `hardest` directs it at false positives (vessels, airway walls) instead of at air.

    Args:
        logits: `(B, C, *spatial)`; one foreground logit, or several classes with background first.
        hardest: h in (0, 1], share of the voxels of each sample that count; 1 is the plain mean.

    Returns:
        A scalar, at least 0; the mean over samples.

    Raises:
        ValueError: `hardest` outside (0, 1].

    Source: hard-voxel cross-entropy as in Wu et al., "Bridging category-level and instance-level
    semantic image segmentation", 2016 (online bootstrapping).

    Example:
        >>> logits = torch.full((1, 1, 4, 4), -30.0); logits[..., 0, 0] = 0
        >>> round(float(healthy_loss(logits, hardest=1 / 16)), 4)
        0.6931
    """
    if not 0 < hardest <= 1:
        msg = f"hardest must lie in (0, 1], got {hardest}"
        raise ValueError(msg)
    shape = (logits.shape[0], 1, *logits.shape[2:])
    background = torch.zeros(shape, dtype=torch.long, device=logits.device)
    values = cross_entropy(logits, background).flatten(1)
    k = math.ceil(hardest * values.shape[1])
    return values.topk(k, dim=1).values.mean() if hardest < 1 else values.mean()
