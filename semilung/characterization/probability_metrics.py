"""Calibration curves, operating points and decision curves of out-of-fold probabilities.

Counts are means over repeats, so that a nodule counts once.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.characterization.feature_models import Values
from semilung.characterization.out_of_fold import OutOfFold
from semilung.evaluation.intervals import wilson

BINS = 10
"""Bins of equal width of the calibration curve."""

TREAT_ALL, TREAT_NONE = "treat all", "treat none"


def calibration_curve(results: OutOfFold) -> pd.DataFrame:
    """Return predicted and observed shares of positives, a row an arm and bin.

    Returns:
        Columns `arm, low, high` (bounds of the bin), `n` and `positives` (means over repeats),
        `mean_score` and `share_positive`. Empty bins are left out.
    """
    labels = results.positive.astype(float)
    rows = []
    for arm, scores in results.scores.items():
        bins = np.minimum((scores * BINS).astype(int), BINS - 1)
        for number in np.unique(bins):
            members = bins == number
            observed = np.broadcast_to(labels, scores.shape)[members]
            rows.append(
                {
                    "arm": arm,
                    "low": number / BINS,
                    "high": (number + 1) / BINS,
                    "n": members.sum() / len(scores),
                    "positives": observed.sum() / len(scores),
                    "mean_score": scores[members].mean(),
                    "share_positive": observed.mean(),
                }
            )
    return pd.DataFrame(rows)


def operating_points(results: OutOfFold) -> pd.DataFrame:
    """Return what each arm's thresholds, chosen in the training parts, reach in the tested ones.

    Returns:
        Columns `arm, target_sensitivity, threshold` (mean over folds), `tp, fp, tn, fn` (means over
        repeats), `sensitivity` and `specificity` with their Wilson intervals.
    """
    positive, rows = results.positive, []
    for (arm, target), thresholds in results.thresholds.items():
        called = (results.scores[arm] >= thresholds).mean(axis=0)  # share of repeats
        sensitivity, specificity = wilson(called[positive]), wilson(1 - called[~positive])
        rows.append(
            {
                "arm": arm,
                "target_sensitivity": target,
                "threshold": thresholds.mean(),
                "tp": called[positive].sum(),
                "fp": called[~positive].sum(),
                "tn": (1 - called[~positive]).sum(),
                "fn": (1 - called[positive]).sum(),
                "sensitivity": sensitivity.mean,
                "sensitivity_low": sensitivity.low,
                "sensitivity_high": sensitivity.high,
                "specificity": specificity.mean,
                "specificity_low": specificity.low,
                "specificity_high": specificity.high,
            }
        )
    return pd.DataFrame(rows)


def net_benefit(scores: Values, positive: NDArray[np.bool_], threshold: float) -> float:
    r"""Return the net benefit of treating nodules of a probability of at least a threshold.

    $$ \frac{TP}{N} - \frac{FP}{N} \, \frac{t}{1 - t} $$

    (Vickers and Elkin, Medical Decision Making 2006), the mean over repeats.

    Args:
        scores: `(R, N)` probabilities.
        positive: `(N,)`.
        threshold: In (0, 1).
    """
    called = scores >= threshold
    true, false = called[:, positive].sum(), called[:, ~positive].sum()
    return float((true - false * threshold / (1 - threshold)) / scores.size)


def decision_curve(results: OutOfFold) -> pd.DataFrame:
    """Return `arm, threshold, net_benefit`, of every arm, of treating all, and of treating none."""
    positive = results.positive
    everyone = np.ones((1, len(positive)))
    arms = {**results.scores, TREAT_ALL: everyone, TREAT_NONE: everyone - 1}
    rows = [
        (arm, threshold, net_benefit(scores, positive, threshold))
        for arm, scores in arms.items()
        for threshold in (np.arange(1, 100) / 100).tolist()
    ]
    return pd.DataFrame(rows, columns=["arm", "threshold", "net_benefit"])
