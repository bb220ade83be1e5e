"""Intervals for means of per-case and per-lesion figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean, its bootstrap interval, and the number of defined values behind it."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap_mean(
    values: Iterable[float], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean with its percentile bootstrap interval (Efron, Ann. Statist. 1979).

    `low` and `high` are the `(1 - level) / 2` and `(1 + level) / 2` quantiles of the means of
    `resamples` samples drawn with replacement. NaN means undefined: such values take no part,
    and `n` counts the others. With one value there is no interval, with none no mean: NaN.

    Values are resampled as if independent. Several lesions of one scan are not, so an interval over
    lesions is narrower than it should be where scans hold many. Values that are all alike, such as
    a cohort without a single false positive, give an interval of width 0.

    Args:
        values: One value a case (or lesion).
        resamples: Number of bootstrap samples.
        level: Coverage, in (0, 1).
        seed: Same seed, same interval.

    Raises:
        ValueError: The level is outside (0, 1).

    Example:
        >>> bootstrap_mean([1.0, 1.0, float("nan")])
        Interval(mean=1.0, low=1.0, high=1.0, n=2)
    """
    if not 0 < level < 1:
        msg = f"level must be in (0, 1), found {level}"
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
