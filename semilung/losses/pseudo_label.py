"""Pseudo-label loss: cross-entropy against confident hard labels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from semilung.losses.activation import (
    cross_entropy,
    distribution,
    hard_labels,
    masked_mean,
    voxel_mask,
)


def confident_mask(target_probs: Tensor, threshold: float | Tensor) -> Tensor:
    r"""Return the voxels whose most likely class reaches its threshold.

    $$ m(x) = [\, q_k(x) \ge \tau_k \,], \qquad k = \arg\max_c q_c(x) $$

    Args:
        target_probs: q, `(B, C, *spatial)` in [0, 1]; one channel means `(1 - q, q)`.
        threshold: τ, a number in [0, 1], or a tensor with one for each class, `(max(C, 2),)`.

    Returns:
        `(B, 1, *spatial)` bool.

    Raises:
        ValueError: A threshold outside [0, 1], or not one for each class.

    Example:
        >>> q = torch.tensor([0.02, 0.6, 0.97]).view(1, 1, 3, 1)
        >>> confident_mask(q, 0.95).flatten().tolist()
        [True, False, True]
        >>> confident_mask(q, torch.tensor([0.99, 0.5])).flatten().tolist()
        [False, True, True]
    """
    confidence = distribution(target_probs.detach()).amax(dim=1, keepdim=True)
    if not isinstance(threshold, Tensor) or threshold.ndim == 0:
        if not 0 <= threshold <= 1:
            msg = f"threshold must lie in [0, 1], got {threshold}"
            raise ValueError(msg)
        return confidence >= threshold
    classes = max(target_probs.shape[1], 2)
    if threshold.shape != (classes,):
        msg = f"threshold {tuple(threshold.shape)} has not one value for each of {classes} classes"
        raise ValueError(msg)
    if not bool(((threshold >= 0) & (threshold <= 1)).all()):
        raise ValueError(f"thresholds must lie in [0, 1], got {threshold.tolist()}")
    return confidence >= threshold.to(confidence.device)[hard_labels(target_probs.detach())]


def pseudo_label_loss(
    logits: Tensor,
    target_probs: Tensor,
    *,
    threshold: float | Tensor = 0.95,
    mask: Tensor | None = None,
    average: Literal["confident", "all"] = "confident",
) -> Tensor:
    r"""Cross-entropy against the teacher's hard labels where it is confident.

    $$ L = \frac{1}{B} \sum_b \frac{1}{n} \sum_x m(x) \, c(x) \, (-\log p_{k(x)}(x)), \qquad
       k(x) = \arg\max_c q_c(x), \quad c(x) = [\, q_k(x) \ge \tau_k \,] $$

    A voxel below the threshold is ignored; it never becomes background. With
    `average="confident"`, n is the number of confident voxels of the sample, `sum_x m c`, so the
    term keeps its scale at every threshold, and few confident voxels weigh more each. With
    `average="all"`, n is `sum_x m`, as in FixMatch: the term grows with the teacher's confidence,
    and a single confident voxel cannot dominate a sample.

    Args:
        logits: `(B, C, *spatial)`, the student's; p are their probabilities.
        target_probs: q, the teacher's, of the same shape, in [0, 1]; detached.
        threshold: τ, a number in [0, 1], or one for each class, `(max(C, 2),)`; 0 uses every voxel.
        mask: m, `(B, 1, *spatial)` bool, the voxels that may count; None means all.
        average: Number of voxels to divide the sum of a sample by, `confident` or `all`.

    Returns:
        A scalar, at least 0; a sample without a confident voxel adds 0.

    Raises:
        ValueError: Shapes that do not match, a threshold outside [0, 1], another `average`.

    Source: Sohn et al., FixMatch, NeurIPS 2020; voxels of low confidence ignored as in Yang et
    al., UniMatch, CVPR 2023.

    Example:
        >>> teacher = torch.tensor([0.99, 0.6]).view(1, 1, 2, 1)
        >>> round(float(pseudo_label_loss(torch.zeros(1, 1, 2, 1), teacher)), 4)
        0.6931
    """
    if logits.shape != target_probs.shape:
        msg = f"logits {tuple(logits.shape)} and target_probs {tuple(target_probs.shape)} differ"
        raise ValueError(msg)
    if average not in ("confident", "all"):
        msg = f"average must be 'confident' or 'all', got {average!r}"
        raise ValueError(msg)
    allowed = voxel_mask(mask, logits)
    confident = confident_mask(target_probs, threshold)[:, 0]
    values = cross_entropy(logits, hard_labels(target_probs.detach()))
    if average == "all":
        return masked_mean(torch.where(confident, values, 0.0), allowed).mean()
    return masked_mean(values, confident if allowed is None else confident & allowed).mean()
