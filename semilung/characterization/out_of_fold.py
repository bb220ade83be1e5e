"""Out-of-fold scores of all arms, repeat by repeat, and the thresholds chosen without them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.characterization.feature_models import Labels, Values
from semilung.characterization.nested_cv import FoldResult

SENSITIVITIES = (0.9, 0.95)
"""Sensitivities at which operating points are chosen."""


@dataclass(frozen=True)
class OutOfFold:
    """Scores of R repeats and N nodules, each from a model that did not see the patient.

    Attributes:
        nodules: `case, nodule, patient, label, diameter_mm`, N rows.
        folds: `(R, N)`: the fold in which a nodule was tested.
        scores: Arm to `(R, N)` probabilities, SIZE first.
        thresholds: Arm and sensitivity to `(R, N)`: the threshold of the nodule's fold.
    """

    nodules: pd.DataFrame
    folds: NDArray[np.intp]
    scores: dict[str, Values]
    thresholds: dict[tuple[str, float], Values]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Whether each nodule is of the positive class, `(N,)`."""
        return np.asarray(self.nodules["label"].to_numpy() == 1)

    def table(self) -> pd.DataFrame:
        """Return a row a repeat, arm and nodule."""
        columns = ["case", "nodule", "patient", "label", "diameter_mm"]
        tables = []
        for arm, scores in self.scores.items():
            for repeat, row in enumerate(scores):
                rows = self.nodules[columns].assign(arm=arm, score=row)
                rows.insert(0, "repeat", repeat)
                rows.insert(1, "fold", self.folds[repeat])
                tables.append(rows)
        return pd.concat(tables, ignore_index=True)


def collect(nodules: pd.DataFrame, results: Sequence[FoldResult]) -> OutOfFold:
    """Return the scores of all folds, each nodule's of the fold that tested it."""
    shape = 1 + max(result.fold.repeat for result in results), len(nodules)
    arms = [*results[0].arms]
    folds = np.full(shape, -1)
    scores = {arm: np.full(shape, np.nan) for arm in arms}
    thresholds = {(arm, s): np.full(shape, np.nan) for arm in arms for s in SENSITIVITIES}
    for (repeat, number, *_, outer), by_arm, _ in results:
        folds[repeat, outer] = number
        for arm, of_fold in by_arm.items():
            scores[arm][repeat, outer] = of_fold.outer
            for sensitivity in SENSITIVITIES:
                thresholds[arm, sensitivity][repeat, outer] = threshold_at(
                    sensitivity, of_fold.reference, of_fold.labels
                )
    return OutOfFold(nodules, folds, scores, thresholds)


def threshold_at(sensitivity: float, scores: Values, labels: Labels) -> float:
    """Return the highest threshold that at least this share of positives reaches.

    Example:
        >>> threshold_at(0.75, np.array([0.1, 0.3, 0.5, 0.7, 0.9]), np.array([0, 1, 1, 1, 1]))
        0.5
    """
    positives = np.sort(scores[labels == 1])[::-1]
    return float(positives[math.ceil(sensitivity * len(positives) - 1e-9) - 1])
