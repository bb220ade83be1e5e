"""Cumulative link loss of ordered classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cumulative_logits(outputs: Tensor) -> Tensor:
    r"""Return logits of $P(y > k)$ that never increase with k.

    $$a_0 = o_0, \qquad a_k = a_{k-1} - \mathrm{softplus}(o_k)$$

    Args:
        outputs: `(N, K - 1)` of K ordered classes.

    Returns:
        `(N, K - 1)`.
    """
    steps = torch.cat([outputs[:, :1], -F.softplus(outputs[:, 1:])], dim=1)
    return steps.cumsum(dim=1)


def ordinal_probabilities(outputs: Tensor) -> Tensor:
    """Return the probability of each class, `(N, K)`, from `(N, K - 1)` outputs."""
    above = cumulative_logits(outputs).sigmoid()
    ends = above.new_ones(len(above), 1), above.new_zeros(len(above), 1)
    return torch.cat([ends[0], above], dim=1) - torch.cat([above, ends[1]], dim=1)


def ordinal_loss(outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Return the cumulative link loss of ordered classes, a mean over samples.

    The binary cross-entropies of the questions $y > k$ are summed, with logits as
    `cumulative_logits` makes them:

    $$-\sum_{k=0}^{K-2} [y > k] \log \sigma(a_k) + [y \le k] \log (1 - \sigma(a_k))$$

    Args:
        outputs: `(N, K - 1)`.
        target: `(N,)` index of the class, 0 to K - 1; NaN where it is missing.
        weight: `(K,)` weight of each class; None for 1.

    Returns:
        Scalar in [0, inf); 0 with a gradient of 0 if all targets are missing.

    Source: McCullagh, Regression models for ordinal data, 1980; Cheng et al., A neural network
    approach to ordinal regression, 2008.

    Example:
        >>> round(float(ordinal_loss(torch.tensor([[2.0, 0.0]]), torch.tensor([2.0]))), 4)
        0.3665
    """
    labelled = ~target.isnan()
    logits, rank = cumulative_logits(outputs[labelled]), target[labelled]
    if not len(rank):
        return outputs.sum() * 0
    levels = torch.arange(logits.shape[1], device=logits.device)
    above = (rank[:, None] > levels).to(logits.dtype)
    losses = F.binary_cross_entropy_with_logits(logits, above, reduction="none").sum(dim=1)
    if weight is not None:
        losses = losses * weight[rank.long()]
    return losses.mean()
