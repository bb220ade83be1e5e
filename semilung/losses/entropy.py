"""How unsure a prediction is."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def voxel_entropy(probs: Tensor) -> Tensor:
    r"""Entropy of each voxel's class distribution, as a share of its largest value.

    $$ H(x) = -\frac{1}{\ln C} \sum_c p_c(x) \ln p_c(x) $$

    One channel is a binary distribution `(1 - p, p)` and divides by ln 2, several divide by ln C,
    so a threshold means the same for every number of classes.

    Args:
        probs: `(B, C, *spatial)` in [0, 1].

    Returns:
        `(B, 1, *spatial)` in [0, 1].

    Example:
        >>> voxel_entropy(torch.full((1, 4, 1, 1), 0.25)).item()
        1.0
    """
    full = torch.cat([1 - probs, probs], dim=1) if probs.shape[1] == 1 else probs
    entropy: Tensor = -torch.special.xlogy(full, full).sum(dim=1, keepdim=True)
    return entropy / math.log(full.shape[1])
