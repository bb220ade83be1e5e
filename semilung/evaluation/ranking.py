"""AUC as a mean over nodules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Values = NDArray[np.float64]


def auc_shares(scores: Values, positive: NDArray[np.bool_]) -> Values:
    r"""Return a value for each nodule whose mean is the AUC, and whose spread is DeLong's.

    With $V_i$ the share of nodules of the other class that nodule i is ranked rightly against (ties
    count one half), N nodules and $n_i$ of i's class:

    $$ A + \frac{N}{n_i}\,(V_i - A), \qquad A = \frac{1}{n_1} \sum_{i \in 1} V_i $$

    The variance of their mean is that of DeLong et al. (Biometrics 1988), so that intervals and
    paired differences of means are those of AUCs. Values may lie outside [0, 1].

    Args:
        scores: `(N,)`, finite; higher for positive nodules.
        positive: `(N,)`.

    Returns:
        `(N,)`; NaN if a class is empty.

    Example:
        >>> positive = np.array([False, False, True, True])
        >>> float(auc_shares(np.array([0.1, 0.4, 0.35, 0.8]), positive).mean())
        0.75
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return np.full(len(scores), np.nan)
    within = np.empty(len(scores))
    for group in (positive, ~positive):
        within[group] = rankdata(scores[group])
    below = rankdata(scores) - within  # nodules of the other class below, ties one half
    shares = np.where(positive, below / negatives, 1 - below / positives)
    auc = shares[positive].mean()
    sizes = np.where(positive, positives, negatives)
    values: Values = auc + len(scores) / sizes * (shares - auc)
    return values
