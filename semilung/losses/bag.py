"""Multiple-instance loss: cross-entropy of pooled instance logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semilung.losses.pooling import Pooling, pool_instances


def bag_loss(
    instance_logits: Tensor,
    bag_label: Tensor,
    *,
    pooling: Pooling = "top_k",
    k: int | None = 5,
    temperature: float = 0.2,
    leak: float = 0.01,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy between pooled instance logits and bag labels, a mean over bags.

    $$ L = -\frac{1}{B} \sum_b y_b \ln \sigma(S_b) + (1 - y_b) \ln (1 - \sigma(S_b)) $$

    S is the bag logit of `pool_instances`, which describes the poolings and their options.

    Args:
        instance_logits: `(B, N)`.
        bag_label: y, `(B,)` in [0, 1], of any type: 1 if some instance is positive.
        pooling: One of `top_k`, `log_sum_exp`, `noisy_or`, `mean`, `max`.
        k: Number of instances that `top_k` and `noisy_or` use; None uses all.
        temperature: Of `log_sum_exp`, above 0.
        leak: Of `noisy_or`, in [0, 1).
        mask: `(B, N)` bool, the real instances of padded bags; None for all.

    Returns:
        A scalar, at least 0; an empty bag adds 0.

    Raises:
        ValueError: Shapes that do not match, a label outside [0, 1], an option outside its range.

    Source: Dietterich et al., Artificial Intelligence 1997 (multiple instances); for the poolings
    see `pool_instances`.

    Example:
        >>> logits = torch.tensor([[0.0, -9, -9]])
        >>> round(float(bag_loss(logits, torch.tensor([1]), pooling="max")), 4)
        0.6931
    """
    if bag_label.shape != instance_logits.shape[:1]:
        msg = f"bag_label {tuple(bag_label.shape)} is not (B,) of {tuple(instance_logits.shape)}"
        raise ValueError(msg)
    if not ((bag_label >= 0) & (bag_label <= 1)).all():
        msg = f"bag_label must lie in [0, 1], got {bag_label.tolist()}"
        raise ValueError(msg)
    bag_logits = pool_instances(
        instance_logits, pooling=pooling, k=k, temperature=temperature, leak=leak, mask=mask
    )
    values = F.binary_cross_entropy_with_logits(
        bag_logits, bag_label.to(bag_logits.dtype), reduction="none"
    )
    real = torch.ones_like(instance_logits, dtype=torch.bool) if mask is None else mask
    return torch.where(real.any(dim=1), values, 0.0).mean()
