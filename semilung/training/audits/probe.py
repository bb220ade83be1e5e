"""A small probe: scanner statistics, and how well they separate two groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

FEATURES = ("noise", "sharpness", "through_plane", "hu_05", "hu_50", "hu_95")

SMALLEST_NOISE_HU = 0.5
"""Below the rounding of stored volumes; keeps the logarithm finite on clipped air."""


LUNG_HU, LUNG_SHARE = (-980.0, -600.0), 0.5
"""HU of lung, and its least share of a crop, so that noise is compared in the same tissue."""


class AUC(NamedTuple):
    """Area under the ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float


def scanner_features(hu: NDArray[Any]) -> NDArray[np.float64]:
    r"""What scanner and kernel leave in a crop, named by `FEATURES`.

    With $ s_k $ the spread (1.4826 times the median absolute value) of the second difference
    $ (x_{i-k} - 2 x_i + x_{i+k}) / \sqrt 6 $ along an axis, `noise` is $ \log s_1 $, `sharpness`
    $ \log (s_1 / s_2) $ (0 for white noise, below for smooth kernels), both as means over the axes,
    and `through_plane` the noise along Z less that along X and Y. Smooth anatomy cancels in a
    second difference, and a median does not see the few vessels. `hu_*` are percentiles.

    Args:
        hu: `(X, Y, Z)` in HU, at least 5 voxels an axis.

    Returns:
        `(6,)`.

    Example:
        >>> noise = np.random.default_rng(0).normal(-850, 30, (16, 16, 16))
        >>> dict(zip(FEATURES, scanner_features(noise).round(1).tolist()))["sharpness"]
        0.0
    """
    near, far = (np.array([_noise(hu, axis, lag) for axis in range(3)]) for lag in (1, 2))
    through = near[2] - near[:2].mean()
    return np.array([near.mean(), (near - far).mean(), through, *np.percentile(hu, (5, 50, 95))])


def is_lung(hu: NDArray[Any]) -> bool:
    """Whether a crop in HU is mostly lung, so that its features may be compared."""
    low, high = LUNG_HU
    return bool(((hu >= low) & (hu <= high)).mean() >= LUNG_SHARE)


def grouped_scores(
    features: NDArray[np.float64], positive: NDArray[np.bool_], groups: Sequence[str], *, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return out-of-fold scores of a logistic regression, one a group.

    It reads the features, their squares and products: a scanner between others is separated by an
    interval, not by a bound.

    Each class's groups are dealt out to up to five folds by seed, so that a group is scored by a
    fit without it, and every fit has both classes. Groups of a class have equal weight,
    however many rows they have, and so do the two classes.

    Args:
        features: `(N, F)`.
        positive: `(N,)`, alike within a group; either class has two groups or more.
        groups: N names (patients).
        seed: Decides the folds.

    Returns:
        The groups' mean scores `(G,)` and classes `(G,)`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    _, first, group, rows = np.unique(
        list(groups), return_index=True, return_inverse=True, return_counts=True
    )
    classes = positive[first]
    weights = 1 / rows[group] / np.where(positive, classes.sum(), (~classes).sum())
    fold = _folds(classes, seed)[group]
    scores = np.zeros(len(features))
    for held in np.unique(fold):
        out, rest = fold == held, fold != held
        weight = weights[rest] / weights[rest].mean()
        fit = make_pipeline(
            StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=1000)
        )
        fit.fit(features[rest], positive[rest], logisticregression__sample_weight=weight)
        scores[out] = fit.decision_function(features[out])
    return np.bincount(group, scores) / rows, classes


def auc_with_interval(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> AUC:
    r"""Area under the ROC curve of independent units.

    The interval holds every $ \theta $ within $ 1.96 \sqrt{V(\theta)} $ of the area, with
    $ V(\theta) = \theta (1 - \theta) [1 + N (1 - \theta) / (2 - \theta)
    + N \theta / (1 + \theta)] / (m n) $ and $ N = (m + n) / 2 - 1 $. It stays wide where
    either class has few units, also when they are separated perfectly.

    Args:
        scores: `(U,)`, higher for positive.
        positive: `(U,)`, both classes present.

    Source: Newcombe, Statist. Med. 25:559, 2006, method 5.

    Example:
        >>> few = auc_with_interval(np.arange(4.0), np.array([False, False, True, True]))
        >>> few.value, round(few.low, 2)
        (1.0, 0.39)
    """
    from sklearn.metrics import roc_auc_score

    value = float(roc_auc_score(positive, scores))
    m, n = int(positive.sum()), int((~positive).sum())
    return AUC(value, _lower(value, m, n), 1 - _lower(1 - value, m, n))


def can_separate(positive: int, negative: int) -> bool:
    """Whether perfect scores of so many units a class would be surely better than chance."""
    return min(positive, negative) >= 2 and _lower(1.0, positive, negative) > 0.5


def _noise(hu: NDArray[Any], axis: int, lag: int) -> float:
    x = np.moveaxis(np.asarray(hu, np.float64), axis, 0)
    second = (x[: -2 * lag] - 2 * x[lag:-lag] + x[2 * lag :]) / np.sqrt(6)
    return float(np.log(max(1.4826 * np.median(np.abs(second)), SMALLEST_NOISE_HU)))


def _folds(classes: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """The fold of each group."""
    rng = np.random.default_rng(seed)
    sides = [rng.permutation(np.flatnonzero(classes == side)) for side in (True, False)]
    count = min(5, *map(len, sides))
    fold = np.zeros(len(classes), np.int64)
    for side in sides:
        fold[side] = np.arange(len(side)) % count
    return fold


def _lower(value: float, m: int, n: int) -> float:
    """The smallest area that the observed one is not surely above."""
    more = (m + n) / 2 - 1

    def beyond(theta: float) -> float:
        spread = 1 + more * (1 - theta) / (2 - theta) + more * theta / (1 + theta)
        return float(value - theta - 1.96 * np.sqrt(theta * (1 - theta) * spread / (m * n)))

    return float(brentq(beyond, 0.0, value - 1e-9)) if value > 1e-6 else 0.0
