"""Background outside of all boxes of nodules."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semilung.losses.activation import log_probabilities, masked_mean, voxel_mask
from semilung.losses.boxes import nearest_ellipsoid, require_boxes


def box_emptiness_loss(
    logits: Tensor,
    boxes: Tensor,
    *,
    margin: float = 1.5,
    hardest: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy against background outside of all boxes, a mean over samples.

    $$ L = \frac{1}{B} \sum_b \frac{1}{k} \sum_{x \in \mathrm{top}_k(O)} -\log p_0(x), \qquad
       k = \lceil h |O| \rceil $$

    O are the voxels outside of the ellipsoids inscribed in the boxes, each enlarged by `margin`: a
    nodule is not quite a ball, and its box not quite exact. The boxes must be those of all nodules
    that the crop shows; the loss of a sample without boxes is that of a healthy one.

    Args:
        logits: `(B, C, *spatial)`; one foreground logit, or several classes with background first.
        boxes: `(B, N, 2 D)`, centre and half edges in voxels; rows with NaN are padding.
        margin: Factor on the half edges, at least 1.
        hardest: h in (0, 1], share of the outside voxels of each sample that count; 1 is the mean.
        mask: `(B, 1, *spatial)` bool; voxels that are False do not count.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: Shapes that do not match, or an option out of its range.

    Source: Kervadec et al., Bounding boxes for weakly supervised segmentation, MIDL 2020.

    Example:
        >>> box = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
        >>> round(float(box_emptiness_loss(torch.tensor([[[[9.0, 9.0, 0.0]]]]), box)), 4)
        0.6931
    """
    require_boxes(boxes, logits)
    if margin < 1:
        raise ValueError(f"margin must be at least 1, got {margin}")
    if not 0 < hardest <= 1:
        raise ValueError(f"hardest must lie in (0, 1], got {hardest}")
    outside = nearest_ellipsoid(boxes, logits, scale=margin) == 0
    valid = voxel_mask(mask, logits)
    if valid is not None:
        outside = outside & valid
    _, log_background = log_probabilities(torch.where(outside[:, None], logits, 0.0))
    if hardest == 1:
        return masked_mean(-log_background, outside).mean()
    losses = torch.where(outside, -log_background, -torch.inf).flatten(1)
    k = (hardest * outside.flatten(1).sum(dim=1)).ceil()
    largest = losses.topk(math.ceil(hardest * losses.shape[1]), dim=1).values
    counted = torch.arange(largest.shape[1], device=largest.device) < k[:, None]
    return (torch.where(counted, largest, 0.0).sum(dim=1) / k.clamp(min=1)).mean()
