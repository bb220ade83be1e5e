"""Joint class probabilities of anatomy and nodules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semilung.types import IGNORE


def compose_known(nodule: Tensor, anatomy: Tensor, classes: int) -> Tensor:
    """Compose `[one_hot(anatomy) * (1 - p), p]`, all zero where the anatomy is unknown.

    Only one tensor of all classes is allocated, no one-hot tensor.

    Args:
        nodule: p, `(B, 1, *spatial)` in [0, 1].
        anatomy: `(B, 1, *spatial)` integers; values outside `[0, classes)` are unknown.
        classes: Number of anatomy labels, 0 included.

    Returns:
        `(B, classes + 1, *spatial)`, float32 or wider, the nodule last.

    Example:
        >>> p, anatomy = torch.tensor([0.25, 0.5, 0.5]), torch.tensor([1, 0, 255])
        >>> compose_known(p.view(1, 1, 3, 1), anatomy.view(1, 1, 3, 1), 2)[0, :, :, 0]
        tensor([[0.0000, 0.5000, 0.0000],
                [0.7500, 0.0000, 0.0000],
                [0.2500, 0.5000, 0.0000]])
    """
    valid = (anatomy >= 0) & (anatomy < classes)
    p = torch.where(valid, nodule.to(torch.promote_types(nodule.dtype, torch.float32)), 0.0)
    batch, _, *spatial = p.shape
    probs = p.new_zeros((batch, classes + 1, *spatial))
    rest = torch.where(valid, 1 - p, 0.0)
    probs.scatter_(1, torch.where(valid, anatomy, 0).long(), rest)
    probs[:, -1:] = p
    return probs


def compose_predicted(nodule: Tensor, anatomy_logits: Tensor) -> Tensor:
    """Compose `[softmax(anatomy) * (1 - p), p]`.

    Args:
        nodule: p, `(B, 1, *spatial)` in [0, 1].
        anatomy_logits: `(B, classes, *spatial)`.

    Returns:
        `(B, classes + 1, *spatial)`, float32 or wider, the nodule last.
    """
    p = nodule.to(torch.promote_types(nodule.dtype, torch.float32))
    return torch.cat([anatomy_logits.to(p.dtype).softmax(dim=1) * (1 - p), p], dim=1)


def named_labels(anatomy: Tensor, unlabelled: Sequence[int]) -> Tensor:
    """Replace the labels that name no tissue by 255."""
    for label in unlabelled:
        anatomy = torch.where(anatomy == label, IGNORE, anatomy)
    return anatomy
