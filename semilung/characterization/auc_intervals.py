r"""AUC over repeats with intervals: DeLong's, and of a bootstrap of patients.

With scores $s_r$ of repeat r, the concordance of a positive nodule i and a negative one j is

$$ K_{ij} = \frac{1}{R} \sum_r [s_{ri} > s_{rj}] + \tfrac{1}{2} [s_{ri} = s_{rj}] $$

whose mean is the mean over repeats of the AUC of all nodules' scores of a repeat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.characterization.feature_models import Values
from semilung.evaluation.intervals import Z

Positive = NDArray[np.bool_]


class AucInterval(NamedTuple):
    """An AUC and its 95 % interval; NaN where undefined."""

    auc: float
    low: float
    high: float


def concordance(scores: Values, positive: Positive) -> Values:
    """Return the concordance of each pair.

    Args:
        scores: `(R, N)`.
        positive: `(N,)`.

    Returns:
        `(P, Q)` for P positive and Q negative nodules.

    Example:
        >>> scores = np.array([[0.1, 0.4, 0.35, 0.8]])
        >>> concordance(scores, np.array([False, False, True, True])).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    total = np.zeros((positive.sum(), (~positive).sum()))
    for row in scores:  # one repeat at a time, as all pairs of all repeats may not fit in memory
        total += np.sign(row[positive, None] - row[None, ~positive])
    return np.asarray((total / len(scores) + 1) / 2)


def delong(pairs: Values) -> AucInterval:
    """Return the AUC with the interval of DeLong et al. (Biometrics 1988), within [0, 1].

    Its variance is that of the placements, means of the concordances `(P, Q)` of a nodule, averaged
    over repeats. It treats nodules as independent, those of one patient too. NaN for fewer than two
    nodules of a class.
    """
    p, q = pairs.shape
    auc = float(pairs.mean()) if pairs.size else math.nan
    if min(p, q) < 2:
        return AucInterval(auc, math.nan, math.nan)
    variance = pairs.mean(axis=1).var(ddof=1) / p + pairs.mean(axis=0).var(ddof=1) / q
    half = Z * math.sqrt(variance)
    return AucInterval(auc, max(0.0, auc - half), min(1.0, auc + half))


def patient_weights(patients: Sequence[Any], count: int, seed: int) -> Values:
    """Return how often each nodule is in each resample of patients, `(B, N)`.

    A resample draws as many patients as there are, with replacement, each with all nodules.
    """
    index = np.unique(np.asarray(patients), return_inverse=True)[1]
    number = int(index.max()) + 1
    rng = np.random.default_rng(seed)
    counts = [np.bincount(rng.integers(number, size=number), minlength=number)
              for _ in range(count)]  # fmt: skip
    return np.asarray(np.stack(counts)[:, index], dtype=float)


def resampled_aucs(pairs: Values, positive: Positive, weights: Values) -> Values:
    """Return the AUC in each resample `(B,)`; NaN where a class is not drawn.

    Args:
        pairs: `(P, Q)` concordances.
        positive: `(N,)`.
        weights: `(B, N)`, as returned by `patient_weights`.
    """
    of_positive, of_negative = weights[:, positive], weights[:, ~positive]
    total = of_positive.sum(axis=1) * of_negative.sum(axis=1)
    concordant = ((of_positive @ pairs) * of_negative).sum(axis=1)
    aucs = np.full(len(weights), np.nan)
    np.divide(concordant, total, out=aucs, where=total > 0)
    return aucs


def percentile_interval(values: Values) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % quantiles of the defined values; NaN if there is none."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)


def bootstrap_p(differences: Values) -> float:
    """Return the two-sided p-value of resampled differences: twice the smaller tail beyond 0.

    Example:
        >>> bootstrap_p(np.array([1.0] * 19))
        0.1
    """
    defined = differences[~np.isnan(differences)]
    if not len(defined):
        return math.nan
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(defined) + 1)))


def foldwise_auc(scores: Values, folds: NDArray[np.intp], positive: Positive) -> float:
    """Return the mean of the AUCs within each fold of each repeat, over folds with both classes."""
    values = []
    for row, numbers in zip(scores, folds, strict=True):
        for number in np.unique(numbers):
            tested = numbers == number
            pairs = concordance(row[None, tested], positive[tested])
            if pairs.size:
                values.append(pairs.mean())
    return float(np.mean(values)) if values else math.nan
