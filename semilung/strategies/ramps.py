"""How a weight grows during training."""

from __future__ import annotations

import math


def sigmoid_rampup(progress: float, length: float) -> float:
    r"""Sigmoid-shaped ramp from `e^-5` to 1: $ \exp(-5 (1 - \min(1, t / T))^2) $.

    Args:
        progress: t in [0, 1], the share of the training that is done.
        length: T in [0, 1], the share at which the ramp ends; 0 gives 1 throughout.

    Source: Laine and Aila, Temporal ensembling, ICLR 2017.

    Example:
        >>> sigmoid_rampup(0.4, 0.4), round(sigmoid_rampup(0.0, 0.4), 4)
        (1.0, 0.0067)
    """
    if progress >= length:
        return 1.0
    return math.exp(-5 * (1 - progress / length) ** 2)
