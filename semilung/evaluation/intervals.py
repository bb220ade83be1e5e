"""Confidence intervals of means and proportions, and Holm's correction of p-values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""Quantile of the standard normal distribution of a two-sided 95 % interval."""


class Interval(NamedTuple):
    """A mean, its bootstrap interval, and the number of defined values behind it."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap_mean(
    values: Iterable[float], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean and its percentile bootstrap interval (Efron, Ann. Statist. 1979).

    `low` and `high` are the `(1 - level) / 2` and `(1 + level) / 2` quantiles of the means of
    `resamples` samples drawn with replacement. NaN means undefined: such values are excluded, and
    `n` counts the others. The interval of fewer than two values, and the mean of none, are NaN.

    Values are resampled as if independent. Lesions of one scan are not, so an interval over lesions
    is too narrow where scans contain several. Identical values, such as those of a cohort without
    any false positive, give an interval of width 0.

    Args:
        values: One value per case (or lesion).
        resamples: Number of bootstrap samples.
        level: Coverage, in (0, 1).
        seed: Seed of the resampling.

    Raises:
        ValueError: The level is outside (0, 1).

    Example:
        >>> bootstrap_mean([1.0, 1.0, float("nan")])
        Interval(mean=1.0, low=1.0, high=1.0, n=2)
    """
    if not 0 < level < 1:
        msg = f"level must be in (0, 1), got {level}"
        raise ValueError(msg)
    array = np.asarray(list(values), dtype=float)
    defined = array[~np.isnan(array)]
    n = len(defined)
    mean = float(defined.mean()) if n else float("nan")
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), n)
    draws = np.random.default_rng(seed).integers(n, size=(resamples, n))
    tails = (1 - level) / 2, (1 + level) / 2
    low, high = np.quantile(defined[draws].mean(axis=1), tails)
    return Interval(mean, float(low), float(high), n)


def wilson(shares: Iterable[float]) -> Interval:
    """Return the mean of proportions and its 95 % Wilson score interval (Wilson, JASA 1927).

        (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n),   z = 1.96

    Intended for the sensitivity of a few lesions: if all or none are detected, the bootstrap
    interval has width 0, but this one does not.

    Args:
        shares: One value per lesion, in [0, 1]: whether it was detected, or the share of seeds that
            detected it. For shares the interval is conservative, because the variance of a
            distribution on [0, 1] with mean p is at most p (1 - p). NaN is excluded.

    Example:
        >>> tuple(round(value, 3) for value in wilson([1, 1, 1, 1]))
        (1.0, 0.51, 1.0, 4)
    """
    array = np.asarray(list(shares), dtype=float)
    defined = array[~np.isnan(array)]
    n = len(defined)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    p, z2 = float(defined.mean()), Z**2
    centre, scale = p + z2 / (2 * n), 1 + z2 / n
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    low, high = (centre - half) / scale, (centre + half) / scale
    return Interval(p, max(low, 0.0), min(high, 1.0), n)  # rounding may leave [0, 1] by 1e-17


def holm(p: Iterable[float]) -> NDArray[np.float64]:
    """Return p-values adjusted by Holm's step-down method (Scand. J. Statist. 1979).

    With the m values in ascending order, `p_(1) <= ... <= p_(m)`,

        p_holm_(k) = min(1, max over j <= k of (m - j + 1) p_(j))

    Rejecting at p_holm <= α controls the family-wise error rate at α under any dependence between
    the tests.

    Args:
        p: In [0, 1]; NaN is not a test: it stays NaN and does not count in m.

    Returns:
        In the order of `p`.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(list(p), dtype=float)
    tested = np.flatnonzero(~np.isnan(values))
    ascending = tested[np.argsort(values[tested])]
    weighted = np.arange(len(ascending), 0, -1) * values[ascending]
    adjusted = np.full_like(values, np.nan)
    adjusted[ascending] = np.maximum.accumulate(weighted).clip(max=1)
    return adjusted
