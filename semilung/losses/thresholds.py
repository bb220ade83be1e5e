"""Self-adaptive confidence thresholds for each class (FreeMatch)."""

from __future__ import annotations

from torch import Tensor

from semilung.losses.activation import distribution, wide


def confidence_statistics(target_probs: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the mean confidence and the mean probability of each class, over samples.

    $$ \bar q = \frac{1}{B |X|} \sum_{b,x} \max_c q_c(x), \qquad
       \bar q_c = \frac{1}{B |X|} \sum_{b,x} q_c(x) $$

    Args:
        target_probs: q, `(B, C, *spatial)` in [0, 1]; one channel means `(1 - q, q)`.

    Returns:
        A scalar in [1/K, 1] and `(K,)` that sums to 1, with `K = max(C, 2)`; without gradient.

    Example:
        >>> import torch
        >>> confidence, class_probs = confidence_statistics(torch.tensor([[[0.25]]]))
        >>> confidence.item(), class_probs.tolist()
        (0.75, [0.75, 0.25])
    """
    full = distribution(target_probs.detach()).flatten(2)
    return full.amax(dim=1).mean(dtype=wide(full)), full.mean(dim=(0, 2), dtype=wide(full))


def adaptive_threshold(
    confidence: Tensor, class_probs: Tensor, *, bounds: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    r"""Return the self-adaptive threshold of each class.

    $$ \tau_c = \frac{p_c}{\max_k p_k} \, \tau $$

    τ and p are exponential moving averages of `confidence_statistics`, both start at 1/K and are
    updated by the caller, with `lerp_` after each step. A class with few voxels gets a threshold
    close to 0, so a nodule class needs a lower bound.

    Args:
        confidence: τ, a scalar in [0, 1].
        class_probs: p, `(K,)`, at least 0 and not all 0.
        bounds: Smallest and largest threshold, in [0, 1].

    Returns:
        `(K,)` within the bounds, for `pseudo_label_loss` and `confident_mask`.

    Source: Wang et al., FreeMatch, ICLR 2023 (self-adaptive threshold, decay 0.999).

    Example:
        >>> import torch
        >>> confidence, class_probs = torch.tensor(0.5), torch.full((2,), 0.5)
        >>> now, now_class = confidence_statistics(torch.tensor([[[0.75]]]))
        >>> confidence, class_probs = confidence.lerp(now, 0.5), class_probs.lerp(now_class, 0.5)
        >>> adaptive_threshold(confidence, class_probs)
        tensor([0.3750, 0.6250])
    """
    return (confidence * class_probs / class_probs.max()).clamp(*bounds)
