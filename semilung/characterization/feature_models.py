"""Kinds of model, with the few hyperparameters that are chosen within the training part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from semilung.characterization.feature_filter import FeatureFilter

Values = NDArray[np.float64]
Labels = NDArray[np.int_]
Split = tuple[NDArray[np.intp], NDArray[np.intp]]

PENALTIES = (0.03, 0.1, 0.3, 1.0)
"""C of the LASSO; below the first, no feature is left of a few hundred nodules."""

INTERCEPT_SCALING = 30.0
"""liblinear penalises the intercept too, which would pull probabilities to 0.5; divided by this."""

SMALLEST = 1e-6
"""Probabilities are clipped to this distance from 0 and 1 before their logit."""


WEAK_PENALTY = 10.0
"""C of a logistic regression of one or two features; finite where they separate the classes."""


def few_features() -> ModelKind:
    """Return a logistic regression of one or two features, hardly regularised."""
    return ModelKind(StandardScaler(), [LogisticRegression(C=WEAK_PENALTY)])


def radiomics_candidates(
    kind: str, *, stable: list[int] | None, redundancy: float, seed: int
) -> ModelKind:
    """Return a kind of model of radiomic features.

    Both impute medians, filter (`FeatureFilter`) and standardise. `logistic` is a logistic
    regression with L1 penalty (LASSO) whose C is chosen, `boosting` a histogram gradient boosting
    of small trees whose number and size are chosen.
    """
    prepare = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        FeatureFilter(stable, redundancy),
        StandardScaler(),
    )
    if kind == "logistic":
        return ModelKind(
            prepare,
            [
                LogisticRegression(
                    C=c, l1_ratio=1, solver="liblinear", random_state=0,
                    intercept_scaling=INTERCEPT_SCALING,
                )
                for c in PENALTIES
            ],
        )  # fmt: skip
    return ModelKind(
        prepare,
        [
            HistGradientBoostingClassifier(
                max_leaf_nodes=leaves, max_iter=trees, min_samples_leaf=10,
                l2_regularization=1.0, early_stopping=False, random_state=seed,
            )
            for leaves, trees in ((3, 40), (3, 80), (6, 40))
        ],
    )  # fmt: skip


@dataclass(frozen=True)
class ModelKind:
    """What is fitted before the model, and the candidates of the model."""

    prepare: Any
    candidates: Sequence[Any]


@dataclass(frozen=True)
class ChosenModel:
    """A model of the training part.

    Attributes:
        pipeline: Fitted to the whole training part, with the best candidate.
        held_out: `(N,)` probabilities of the training part, each by a model of the other inner
            folds.
        loss: Log loss of `held_out`.
    """

    pipeline: Pipeline
    held_out: Values
    loss: float

    def probability(self, features: Values) -> Values:
        """Return the probability of the positive class, `(N,)`."""
        return np.asarray(self.pipeline.predict_proba(features)[:, 1])


def choose_model(
    kind: ModelKind, features: Values, labels: Labels, splits: Iterable[Split]
) -> ChosenModel:
    """Choose the candidate of the lowest log loss over inner folds, and fit it to all rows.

    The log loss is proper, so that the model is chosen for its probabilities too, and it is defined
    in folds of one class.

    Args:
        kind: Preparation and candidates; fitted anew in each inner fold.
        features: `(N, F)` of the training part, NaN where undefined.
        labels: `(N,)`, 0 or 1.
        splits: Rows to fit on and rows held out, of each inner fold.
    """
    held_out = np.full((len(kind.candidates), len(labels)), np.nan)
    for fit, test in splits:
        prepare = clone(kind.prepare)
        prepared = prepare.fit_transform(features[fit], labels[fit])
        for row, candidate in zip(held_out, kind.candidates, strict=True):
            model = clone(candidate).fit(prepared, labels[fit])
            row[test] = model.predict_proba(prepare.transform(features[test]))[:, 1]
    losses = [log_loss(labels, row) for row in held_out]
    best = int(np.argmin(losses))
    pipeline = make_pipeline(clone(kind.prepare), clone(kind.candidates[best]))
    return ChosenModel(pipeline.fit(features, labels), held_out[best], losses[best])


def logit(probability: Values) -> Values:
    """Return the log odds, of probabilities clipped at `SMALLEST`.

    Example:
        >>> logit(np.array([0.5, 1.0])).round(2).tolist()
        [0.0, 13.82]
    """
    clipped = probability.clip(SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(clipped / (1 - clipped)))
