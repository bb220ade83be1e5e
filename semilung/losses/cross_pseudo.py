"""Cross pseudo supervision (CPS) loss."""

from __future__ import annotations

from torch import Tensor

from semilung.losses.activation import probabilities
from semilung.losses.pseudo_label import pseudo_label_loss


def cross_pseudo_loss(logits_a: Tensor, logits_b: Tensor, *, mask: Tensor | None = None) -> Tensor:
    r"""Cross pseudo supervision: cross-entropy of each net against the other's hard labels.

    $$ L = \mathrm{CE}(a, \arg\max b) + \mathrm{CE}(b, \arg\max a) $$

    Each CE is a mean over the voxels of the mask, then over samples. The targets carry no
    gradient, so each term trains one net only. The nets must start from different weights: equal
    nets only confirm each other.

    Args:
        logits_a: a, `(B, C, *spatial)`.
        logits_b: b, of the same shape.
        mask: `(B, 1, *spatial)` bool, the voxels that count; None means all.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: Shapes that do not match.

    Source: Chen et al., Semi-supervised semantic segmentation with cross pseudo supervision,
    CVPR 2021.

    Example:
        >>> import torch
        >>> a = torch.full((1, 1, 2, 2), 30.0)
        >>> float(cross_pseudo_loss(a, a)) < 1e-6, float(cross_pseudo_loss(a, -a))
        (True, 60.0)
    """
    targets_a, targets_b = probabilities(logits_a.detach()), probabilities(logits_b.detach())
    from_b = pseudo_label_loss(logits_a, targets_b, threshold=0.0, mask=mask)
    return from_b + pseudo_label_loss(logits_b, targets_a, threshold=0.0, mask=mask)
