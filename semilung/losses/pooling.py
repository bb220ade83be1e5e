"""Pooling of instance logits to bag logits for multiple-instance learning."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from semilung.losses.activation import wide

Pooling = Literal["top_k", "log_sum_exp", "noisy_or", "mean", "max"]


def pool_instances(
    instance_logits: Tensor,
    *,
    pooling: Pooling = "top_k",
    k: int | None = 5,
    temperature: float = 0.2,
    leak: float = 0.01,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Pool the logits s of the n instances of each bag to one bag logit.

    - `mean`, `max`: the mean and the maximum of s.
    - `top_k`: the mean of the k largest; a smaller bag uses all of its instances.
    - `log_sum_exp`: between the two, the mean for a large temperature T and the maximum for a small
      one: $ T \ln \frac{1}{n} \sum_i e^{s_i / T} $.
    - `noisy_or`: a bag is positive if the leak l or any of the k most likely instances is,
      $ P = 1 - (1 - l) \prod_i (1 - p_i) $, $ p_i = \sigma(s_i) $. With `k=None` all instances
      count, and P is the closed form for independent ones; but then a thousand instances at
      p = 0.02 make any scan positive, which the restriction to k prevents.

    Everything is computed on logits in float32 or wider, without products of probabilities, so that
    neither thousands of instances nor logits of 1e4 overflow or lose their gradient.

    Args:
        instance_logits: s, `(B, N)`.
        pooling: One of `top_k`, `log_sum_exp`, `noisy_or`, `mean`, `max`.
        k: Number of instances that `top_k` and `noisy_or` use, at least 1; None uses all.
        temperature: T, above 0, of `log_sum_exp`, in logits.
        leak: l in [0, 1) of `noisy_or`, the probability of a positive bag without a positive
            instance.
        mask: `(B, N)` bool, the real instances of padded bags; None for all.

    Returns:
        `(B,)` logits; an empty bag gets 0 and no gradient.

    Raises:
        ValueError: Shapes that do not match, or an option outside its range.

    Source: Pinheiro and Collobert, CVPR 2015 (log-sum-exp, 1/T = 5); Liao et al., IEEE TNNLS 2019
    (leaky noisy-or over the top five).

    Example:
        >>> logits = torch.tensor([[-6.0, 2, 4]])
        >>> pool_instances(logits, k=2)
        tensor([3.])
        >>> pool_instances(logits, pooling="max", mask=torch.tensor([[True, True, False]]))
        tensor([2.])
    """
    _check(instance_logits, pooling, k, temperature, leak, mask)
    logits = instance_logits.to(wide(instance_logits))
    if mask is None:
        mask = torch.ones_like(logits, dtype=torch.bool)
    if logits.shape[1] == 0:
        return logits.sum(dim=1)
    filled = mask.any(dim=1)
    logits = torch.where(mask, logits, 0.0)
    mask = mask | ~filled[:, None]  # an empty bag pools zeros that carry no gradient
    if pooling in ("top_k", "noisy_or") and k is not None:
        logits, mask = _largest(logits, mask, k)
    if pooling == "max":
        pooled = torch.where(mask, logits, -torch.inf).amax(dim=1)
    elif pooling == "log_sum_exp":
        scaled = torch.where(mask, logits / temperature, -torch.inf)
        pooled = temperature * (scaled.logsumexp(dim=1) - mask.sum(dim=1).to(scaled.dtype).log())
    elif pooling == "noisy_or":
        pooled = _noisy_or(logits, mask, leak)
    else:
        pooled = torch.where(mask, logits, 0.0).sum(dim=1) / mask.sum(dim=1)
    return torch.where(filled, pooled, 0.0)


def _check(
    instance_logits: Tensor,
    pooling: str,
    k: int | None,
    temperature: float,
    leak: float,
    mask: Tensor | None,
) -> None:
    problem = None
    if instance_logits.ndim != 2:
        problem = f"instance_logits must be (B, N), got {tuple(instance_logits.shape)}"
    elif mask is not None and mask.shape != instance_logits.shape:
        problem = (
            f"mask {tuple(mask.shape)} does not match {tuple(instance_logits.shape)} instances"
        )
    elif pooling not in get_args(Pooling):
        problem = f"pooling must be one of {', '.join(get_args(Pooling))}, got {pooling!r}"
    elif k is not None and k < 1:
        problem = f"k must be at least 1, got {k}"
    elif temperature <= 0:
        problem = f"temperature must be above 0, got {temperature}"
    elif not 0 <= leak < 1:
        problem = f"leak must lie in [0, 1), got {leak}"
    if problem:
        raise ValueError(problem)


def _largest(logits: Tensor, mask: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest logits of each bag, and the mask of those that are not padding."""
    top = torch.where(mask, logits, -torch.inf).topk(min(k, logits.shape[1]), dim=1).values
    real = torch.arange(top.shape[1], device=top.device) < mask.sum(dim=1, keepdim=True)
    return torch.where(real, top, 0.0), real


def _noisy_or(logits: Tensor, mask: Tensor, leak: float) -> Tensor:
    r"""Return the logit of $ 1 - (1 - l) \prod_i (1 - p_i) $ `(B,)`; the leak is one more instance.

    With $ h_i = -\ln(1 - p_i) = \ln(1 + e^{s_i}) $, the h of the instances add up, and the bag's
    logit is the s of the sum. Computed via ln h, which equals s for very low s.
    """
    log_h = torch.where(mask, _log_softplus(logits), -torch.inf)
    if leak:
        log_h = F.pad(log_h, (1, 0), value=math.log(-math.log1p(-leak)))
    total = log_h.logsumexp(dim=1)
    low = total < math.log(torch.finfo(total.dtype).eps)
    h = torch.where(low, 1.0, total).exp()
    return torch.where(low, total, h + torch.log(-torch.expm1(-h)))


def _log_softplus(logits: Tensor) -> Tensor:
    """Return ln(ln(1 + e^s)), which differs from s by e^s / 2 for low s."""
    low = logits < math.log(torch.finfo(logits.dtype).eps)
    softplus = -F.logsigmoid(-torch.where(low, 0.0, logits))
    return torch.where(low, logits, softplus.log())
