"""Intraclass correlation: the share of variance that is between nodules and not within them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Icc(NamedTuple):
    """An intraclass correlation in (-1, 1], and its 95 % confidence interval."""

    value: float
    low: float
    high: float


UNDEFINED = Icc(np.nan, np.nan, np.nan)


def icc_1_1(ratings: ArrayLike, *, confidence: float = 0.95) -> Icc:
    """Return ICC(1,1): one-way random effects, absolute agreement, of a single measurement.

        ICC(1,1) = (MSB - MSW) / (MSB + (k - 1) MSW)

    MSB and MSW are the mean squares between and within the n rows of k values (Shrout and Fleiss,
    Psychological Bulletin 86:420, 1979; interval by the F distribution: McGraw and Wong,
    Psychological Methods 1:30, 1996). Which perturbation a value stems from is not used, so a
    perturbation that shifts all values alike lowers it, as in Zwanenburg et al., Scientific
    Reports 9:614, 2019.

    Args:
        ratings: `(n, k)`, a row a nodule, a column a perturbation; rows with NaN are left out.
        confidence: Of the interval, in (0, 1).

    Returns:
        NaN where fewer than 2 rows or columns remain, or all values are equal.

    Example:
        >>> round(icc_1_1([[1, 1.2], [2, 2.2], [3, 2.8]]).value, 2)
        0.98
    """
    table = np.asarray(ratings, np.float64)
    table = table[np.isfinite(table).all(axis=1)]
    rows, columns = table.shape
    if rows < 2 or columns < 2 or np.ptp(table) == 0:
        return UNDEFINED
    means = table.mean(axis=1)
    between = columns * means.var(ddof=1)
    within = float(table.var(axis=1, ddof=1).mean())
    if within == 0:
        return Icc(1.0, 1.0, 1.0)
    freedom = (rows - 1, rows * (columns - 1))
    tail, ratio = (1 - confidence) / 2, between / within
    low = ratio / stats.f.isf(tail, *freedom)
    high = ratio * stats.f.isf(tail, *freedom[::-1])
    return Icc(*(float((f - 1) / (f + columns - 1)) for f in (ratio, low, high)))
