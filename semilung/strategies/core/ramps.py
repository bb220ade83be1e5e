"""Ramp-up of a loss weight during training."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Ramp:
    """Weight of a term as a function of the progress: `weight * sigmoid_rampup(t, length)`.

    Args:
        weight: Final weight, at least 0.
        length: T in [0, 1], the share of the training over which the weight grows.

    Raises:
        ValueError: A value out of its range.

    Example:
        >>> ramp = Ramp(0.5, 0.4)
        >>> round(ramp(0.0), 4), ramp(0.4), ramp(1.0)
        (0.0034, 0.5, 0.5)
    """

    weight: float
    length: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"a weight must be finite and at least 0, got {self.weight}")
        if not 0 <= self.length <= 1:
            msg = f"a ramp's length must be a share of the training in [0, 1], got {self.length}"
            raise ValueError(msg)

    def __call__(self, progress: float) -> float:
        """Return the weight at a progress in [0, 1]."""
        return self.weight * sigmoid_rampup(progress, self.length)


def sigmoid_rampup(progress: float, length: float) -> float:
    r"""Return a sigmoid-shaped ramp from `e^-5` to 1: $ \exp(-5 (1 - \min(1, t / T))^2) $.

    Args:
        progress: t in [0, 1], the share of the training that is done.
        length: T in [0, 1], the share at which the ramp ends; with 0 the result is always 1.

    Source: Laine and Aila, Temporal ensembling, ICLR 2017.

    Example:
        >>> sigmoid_rampup(0.4, 0.4), round(sigmoid_rampup(0.0, 0.4), 4)
        (1.0, 0.0067)
    """
    if progress >= length:
        return 1.0
    return math.exp(-5 * (1 - progress / length) ** 2)
