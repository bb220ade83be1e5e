"""Filter of features: stable, varying, and not redundant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, TransformerMixin


class FeatureFilter(TransformerMixin, BaseEstimator):  # type: ignore[misc] # untyped
    """Keep stable features that vary, and of correlated ones that which says most of the label.

    Features are visited by descending |Spearman correlation| with the label, and kept unless a kept
    one correlates with them more than `redundancy`. All is computed from the rows of `fit`.

    Args:
        stable: Indices of the features that may be kept; None for all.
        redundancy: Largest |Spearman correlation| between kept features.

    Attributes:
        kept_: Indices of the kept features, ascending; at least one, the first if none varies.

    Example:
        >>> a = np.array([0.0, 1, 2, 3, 4])
        >>> features = np.stack([a, a**3, a % 2, np.ones(5)], axis=1)
        >>> FeatureFilter().fit(features, np.array([0, 0, 0, 1, 1])).kept_.tolist()
        [0, 2]
    """

    def __init__(self, stable: list[int] | None = None, redundancy: float = 0.9) -> None:
        self.stable = stable
        self.redundancy = redundancy

    def fit(self, X: NDArray[np.float64], y: NDArray[np.int_]) -> FeatureFilter:  # noqa: N803
        """Choose the features from `X` `(N, F)`, without NaN, and the labels `(N,)`."""
        stable = np.arange(X.shape[1]) if self.stable is None else np.array(self.stable)
        varying = stable[np.ptp(X[:, stable], axis=0) > 0]
        if not len(varying):
            self.kept_ = stable[:1]
            return self
        ranks = rankdata(np.column_stack([y, X[:, varying]]), axis=0)
        correlations = np.abs(np.corrcoef(ranks, rowvar=False))
        strength, between = correlations[0, 1:], np.minimum(correlations[1:, 1:], 1)
        chosen: list[int] = []
        for i in np.argsort(-strength, kind="stable"):
            if not (between[i, chosen] > self.redundancy).any():
                chosen.append(int(i))
        self.kept_ = np.sort(varying[chosen])
        return self

    def transform(self, X: NDArray[np.float64]) -> NDArray[Any]:  # noqa: N803
        """Return the kept columns."""
        return X[:, self.kept_]
