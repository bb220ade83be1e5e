"""Consistency loss: mean squared error between two probability maps."""

from __future__ import annotations

from torch import Tensor

from semilung.losses.activation import masked_mean, voxel_mask


def consistency_loss(probs: Tensor, target_probs: Tensor, *, mask: Tensor | None = None) -> Tensor:
    r"""Mean squared error between student and teacher probabilities, a mean over samples.

    $$ L = \frac{1}{B} \sum_b \frac{\sum_x m(x) \frac{1}{C} \sum_c (p_c(x) - q_c(x))^2}
       {\max(1, \sum_x m(x))} $$

    Args:
        probs: p, the student's `(B, C, *spatial)` in [0, 1].
        target_probs: q, the teacher's, of the same shape; detached.
        mask: m, `(B, 1, *spatial)` bool, the voxels that count; None means all.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: Shapes that do not match.

    Source: Tarvainen and Valpola, Mean teachers, NeurIPS 2017; masked as in Yu et al., UA-MT,
    MICCAI 2019.

    Example:
        >>> import torch
        >>> float(consistency_loss(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)))
        1.0
    """
    if probs.shape != target_probs.shape:
        msg = f"probs {tuple(probs.shape)} and target_probs {tuple(target_probs.shape)} differ"
        raise ValueError(msg)
    squared = (probs - target_probs.detach()).square().mean(dim=1)
    return masked_mean(squared, voxel_mask(mask, probs)).mean()
