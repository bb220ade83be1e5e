"""Consistency loss of centre heatmaps: squared error per centre."""

from __future__ import annotations

from torch import Tensor


def heatmap_consistency_loss(probs: Tensor, target_probs: Tensor) -> Tensor:
    r"""Squared error between two heatmaps, divided by the centres of the target.

    $$ L = \frac{1}{B} \sum_b \frac{\sum_x (p(x) - q(x))^2}{\max(1, \sum_x q(x))} $$

    A mean over voxels, as in `consistency_loss`, would hardly see the few voxels of a centre.

    Args:
        probs: p, the student's `(B, 1, *spatial)` in [0, 1].
        target_probs: q, the teacher's, of the same shape; detached.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: Shapes that do not match.

    Source: Tarvainen and Valpola, Mean teachers, NeurIPS 2017; per centre as the focal loss of Law
    and Deng, CornerNet, ECCV 2018.

    Example:
        >>> import torch
        >>> p, q = torch.tensor([[[1.0, 0.0, 1.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]])
        >>> float(heatmap_consistency_loss(p, q))
        1.0
    """
    if probs.shape != target_probs.shape:
        msg = f"probs {tuple(probs.shape)} and target_probs {tuple(target_probs.shape)} differ"
        raise ValueError(msg)
    target = target_probs.detach()
    squared = (probs - target).square().flatten(1).sum(dim=1)
    return (squared / target.flatten(1).sum(dim=1).clamp(min=1)).mean()
