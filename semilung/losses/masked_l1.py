"""Absolute error over the voxels that have a target."""

from __future__ import annotations

import torch
from torch import Tensor

from semilung.losses.activation import wide


def masked_l1_loss(values: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    r"""Absolute error over the masked voxels of each sample, a mean over samples.

    $$ L = \frac{1}{B} \sum_b \frac{1}{\max(1, |M_b| C)} \sum_{x \in M_b} \sum_c
       |v_c(x) - t_c(x)| $$

    A sample without masked voxels adds 0.

    Args:
        values: v, `(B, C, *spatial)`.
        target: t, of the same shape; not read outside the mask.
        mask: M, `(B, 1, *spatial)` bool.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: Shapes that do not match.

    Example:
        >>> mask = torch.tensor([True, False]).view(1, 1, 2)
        >>> float(masked_l1_loss(torch.zeros(1, 3, 2), torch.full((1, 3, 2), 2.0), mask))
        2.0
    """
    if values.shape != target.shape or mask.shape != (len(values), 1, *values.shape[2:]):
        raise ValueError(
            f"values {tuple(values.shape)}, target {tuple(target.shape)} and mask "
            f"{tuple(mask.shape)} do not match"
        )
    values = values.to(wide(values))
    errors = torch.where(mask, values - target, 0.0).abs().flatten(1).sum(dim=1)
    count = mask.flatten(1).sum(dim=1) * values.shape[1]
    return (errors / count.clamp(min=1)).mean()
