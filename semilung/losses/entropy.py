"""Prediction entropy, per voxel and as a loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semilung.losses.activation import distribution, masked_mean, voxel_mask


def voxel_entropy(probs: Tensor) -> Tensor:
    r"""Entropy of each voxel's class distribution, normalised to [0, 1].

    $$ H(x) = -\frac{1}{\ln C} \sum_c p_c(x) \ln p_c(x) $$

    One channel is a binary distribution `(1 - p, p)` and divides by ln 2, several divide by ln C,
    so a threshold means the same for every number of classes. The logarithm is clamped at the
    smallest normal number, so that the gradient is finite for p = 0.

    Args:
        probs: `(B, C, *spatial)` in [0, 1].

    Returns:
        `(B, 1, *spatial)` in [0, 1].

    Example:
        >>> voxel_entropy(torch.full((1, 4, 1, 1), 0.25)).item()
        1.0
    """
    full = distribution(probs)
    logarithm = full.clamp(min=torch.finfo(full.dtype).tiny).log()
    return -(full * logarithm).sum(dim=1, keepdim=True) / math.log(full.shape[1])


def entropy_loss(probs: Tensor, *, mask: Tensor | None = None) -> Tensor:
    r"""Mean normalised entropy of the voxels, a mean over samples.

    $$ L = \frac{1}{B} \sum_b \frac{\sum_x m(x) H(x)}{\max(1, \sum_x m(x))} $$

    Minimised on unlabelled crops, it moves the decision boundary out of dense regions. On its own
    it is minimal for any certain prediction, "background everywhere" included.

    Args:
        probs: p, `(B, C, *spatial)` in [0, 1]; H is `voxel_entropy` of it.
        mask: m, `(B, 1, *spatial)` bool, the voxels that count; None means all.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: A mask of another shape.

    Source: Grandvalet and Bengio, Semi-supervised learning by entropy minimization, NeurIPS 2004.

    Example:
        >>> float(entropy_loss(torch.tensor([0.5, 1.0]).view(1, 1, 2, 1)))
        0.5
    """
    return masked_mean(voxel_entropy(probs)[:, 0], voxel_mask(mask, probs)).mean()
