"""Nested cross-validation: all arms on the same outer folds, all that is fitted within them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from semilung.characterization.characterization_settings import MODELS, CharacterizationSettings
from semilung.characterization.feature_models import (
    Labels,
    Split,
    Values,
    choose_model,
    few_features,
    logit,
    radiomics_candidates,
)
from semilung.characterization.labelled_nodules import NoduleStudy
from semilung.characterization.nodule_folds import Fold, Indices, grouped_splits, split_seed
from semilung.characterization.selected_features import selected_features
from semilung.types import UserError

SIZE = "size"
"""The arm with which all others are compared: a logistic regression of the log diameter."""


class ArmScores(NamedTuple):
    """Probabilities of an arm in a fold.

    `outer` are those of the tested nodules. `reference` are of nodules that are not tested, with
    their labels: thresholds are chosen on them. They are held out of the fit, but for the arms of
    nets and fusions, whose logistic regression of one or two columns is fitted to these nodules.
    """

    outer: Values
    reference: Values
    labels: Labels


class FoldResult(NamedTuple):
    """Scores of each arm in a fold, and the features that each radiomics arm selected."""

    fold: Fold
    arms: dict[str, ArmScores]
    features: list[pd.DataFrame]


def cross_validate(
    study: NoduleStudy,
    folds: Sequence[Fold],
    settings: CharacterizationSettings,
    *,
    stable: list[int] | None = None,
    evidence: Mapping[str, pd.DataFrame] | None = None,
) -> Iterator[FoldResult]:
    """Yield the result of each outer fold.

    Without evidence of nets, models are fitted on `train` and `inner` together. With it, all are
    fitted on `train`, as the nets were, and `inner` is for calibration, fusion and thresholds.

    Args:
        study: Nodules with features and labels.
        folds: As returned by `make_folds`.
        settings: Of the study.
        stable: Indices of stable features; None for all.
        evidence: Name of each net to its evidence, as `read_scores` returns it.

    Raises:
        UserError: A class has too few patients for the inner folds.
    """
    for fold in folds:
        with threadpool_limits(1):  # fits of milliseconds, whose threads would wait for each other
            result = _run_fold(study, fold, settings, stable, evidence or {})
        yield result


def _run_fold(
    study: NoduleStudy,
    fold: Fold,
    settings: CharacterizationSettings,
    stable: list[int] | None,
    evidence: Mapping[str, pd.DataFrame],
) -> FoldResult:
    rows = fold.train if evidence else np.sort(np.concatenate([fold.train, fold.inner]))
    labels = study.nodules["label"].to_numpy()
    features = study.features.to_numpy(float)
    log_size = np.log(study.nodules[["diameter_mm"]].to_numpy(float))
    splits = _inner_splits(study.nodules.iloc[rows], settings, split_seed(settings, fold.repeat))
    size = choose_model(few_features(), log_size[rows], labels[rows], splits)
    radiomics = {}
    for kind in (name for name in MODELS if name in settings.models):
        candidates = radiomics_candidates(
            kind, stable=stable, redundancy=settings.redundancy, seed=settings.seed
        )
        radiomics[f"radiomics {kind}"] = choose_model(
            candidates, features[rows], labels[rows], splits
        )
    selected = [
        selected_features(model, study.features.columns).assign(arm=arm)
        for arm, model in radiomics.items()
    ]
    models = [(SIZE, size, log_size), *((a, model, features) for a, model in radiomics.items())]
    arms = {}
    for arm, model, values in models:
        held_out = (
            (model.probability(values[fold.inner]), labels[fold.inner])
            if evidence
            else (model.held_out, labels[rows])
        )
        arms[arm] = ArmScores(model.probability(values[fold.outer]), *held_out)
    best = min(radiomics, key=lambda arm: radiomics[arm].loss)
    nets = {name: _of_fold(table, study, fold) for name, table in evidence.items()}
    arms |= {name: _fitted_on_inner(column, labels, fold) for name, column in nets.items()}
    for name, column in nets.items():
        both = np.column_stack([logit(radiomics[best].probability(features)), column])
        arms[fusion_of(name)] = _fitted_on_inner(both, labels, fold)
    return FoldResult(fold, arms, selected)


def fusion_of(name: str) -> str:
    """Return the name of the arm that joins radiomics with a net's scores."""
    return f"fusion {name}"


def _inner_splits(
    nodules: pd.DataFrame, settings: CharacterizationSettings, seed: int
) -> list[Split]:
    """Return the inner folds of the training part, as positions within it."""
    patients = nodules.groupby("label")["patient"].nunique()
    splits: list[Split] = []
    if patients.min() >= settings.inner_folds:
        splits = [*grouped_splits(nodules, np.arange(len(nodules)), settings.inner_folds, seed)]
    if not splits or any(nodules["label"].iloc[fit].nunique() < 2 for fit, _ in splits):
        raise UserError(
            f"{settings.inner_folds} inner folds need as many patients of each class in each "
            f"training part, found {patients.min()}; give fewer, as in inner_folds=2, fewer folds, "
            f"or more patients"
        )
    return splits


def _of_fold(table: pd.DataFrame, study: NoduleStudy, fold: Fold) -> Values:
    """Return the evidence of all nodules `(N, 1)`, NaN in the part on which the net was trained."""
    rows = table.xs((fold.repeat, fold.fold), level=("repeat", "fold"))
    keys = pd.MultiIndex.from_frame(study.nodules[["case", "nodule"]])
    return rows.reindex(keys)[["evidence"]].to_numpy(float)


def _fitted_on_inner(columns: Values, labels: Labels, fold: Fold) -> ArmScores:
    """Return the scores of a logistic regression that is fitted on the inner part alone."""
    inner: Indices = fold.inner
    if len(set(labels[inner])) < 2:
        raise UserError(
            f"fold {fold.fold} of repeat {fold.repeat} has one class alone in its part inner, on "
            f"which scores are calibrated; give fewer folds, or more patients"
        )
    kind = few_features()
    scale = kind.prepare.fit(columns[inner])
    model = kind.candidates[0].fit(scale.transform(columns[inner]), labels[inner])

    def probability(rows: Indices) -> Values:
        return np.asarray(model.predict_proba(scale.transform(columns[rows]))[:, 1])

    return ArmScores(probability(fold.outer), probability(inner), labels[inner])
