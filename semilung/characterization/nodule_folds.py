"""Folds of patients: what is fitted on, what is chosen on, and what is tested."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from semilung.bounds import BOUNDS
from semilung.characterization.characterization_settings import CharacterizationSettings
from semilung.types import UserError

LEAST_PATIENTS = 2
"""Patients of each class that a test fold needs."""

LEAST_FOLDS = int(BOUNDS["characterize.folds"].low)
MOST_REPEATS = int(BOUNDS["characterize.repeats"].high)

Indices = NDArray[np.intp]


class Fold(NamedTuple):
    """Rows of the parts of one fold, no patient in two of them.

    `train` is for fitting. `inner` is held out of it, for what is fitted to or chosen by scores
    of models of `train`: weights of a fusion, thresholds. `outer` is for testing alone.
    """

    repeat: int
    fold: int
    train: Indices
    inner: Indices
    outer: Indices


def make_folds(nodules: pd.DataFrame, settings: CharacterizationSettings) -> list[Fold]:
    """Return all folds of all repeats.

    They depend on the nodules, their patients and labels, `seed`, `folds` and `repeats` alone.
    Classes have about the same share in each (stratified), and `inner` is one fold of the patients
    that are not tested.

    Args:
        nodules: A row a nodule: `patient, label`.
        settings: Of the study.

    Raises:
        UserError: A class has too few patients for the number of folds.
    """
    _require_patients(nodules, settings.folds)
    folds = []
    for repeat in range(settings.repeats):
        seed = split_seed(settings, repeat)
        rows = np.arange(len(nodules))
        for fold, (rest, outer) in enumerate(grouped_splits(nodules, rows, settings.folds, seed)):
            _require_classes(nodules.iloc[outer], repeat, fold)
            train, inner = next(grouped_splits(nodules, rest, settings.folds, seed))
            folds.append(Fold(repeat, fold, train, inner, outer))
    return folds


def split_seed(settings: CharacterizationSettings, repeat: int) -> int:
    """Return the seed of a repeat's splits: repeats of two seeds have no split in common.

    Example:
        >>> [split_seed(CharacterizationSettings(seed=seed), 2) for seed in (0, 1)]
        [2, 1002]
    """
    return settings.seed * MOST_REPEATS + repeat


def grouped_splits(
    nodules: pd.DataFrame, rows: Indices, count: int, seed: int
) -> Iterator[tuple[Indices, Indices]]:
    """Yield rows to fit on and rows to test, of each fold of some rows, split by patient."""
    patients, labels = (nodules[name].to_numpy()[rows] for name in ("patient", "label"))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for fit, test in splitter.split(rows, labels, patients):
        shared = {*patients[fit]} & {*patients[test]}
        assert not shared, f"patients {sorted(shared)} are on both sides of a split"
        yield rows[fit], rows[test]


def fold_table(nodules: pd.DataFrame, folds: list[Fold]) -> pd.DataFrame:
    """Return a row a fold and nodule: `repeat, fold, case, nodule, patient, label, part`."""
    tables = []
    for fold in folds:
        part = np.empty(len(nodules), dtype=object)
        for name in ("train", "inner", "outer"):
            part[getattr(fold, name)] = name
        rows = nodules[["case", "nodule", "patient", "label"]].assign(part=part)
        rows.insert(0, "repeat", fold.repeat)
        rows.insert(1, "fold", fold.fold)
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def _require_patients(nodules: pd.DataFrame, folds: int) -> None:
    counts = {name: _patients(nodules, label) for label, name in enumerate(_CLASSES)}
    listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
    if min(counts.values()) == 0:
        raise UserError(
            f"all labelled nodules are of one class (patients {listed}); check the values of "
            f"negative and positive"
        )
    if min(counts.values()) < LEAST_PATIENTS * LEAST_FOLDS:
        raise UserError(
            f"at least {LEAST_PATIENTS * LEAST_FOLDS} patients of each class are needed, found "
            f"{listed}; add patients"
        )
    if min(counts.values()) < LEAST_PATIENTS * folds:
        raise UserError(
            f"{folds} folds need at least {LEAST_PATIENTS * folds} patients of each class, found "
            f"{listed}; give fewer folds, as in folds={min(counts.values()) // LEAST_PATIENTS}, or "
            f"more patients"
        )


def _require_classes(tested: pd.DataFrame, repeat: int, fold: int) -> None:
    counts = [_patients(tested, label) for label in range(len(_CLASSES))]
    if min(counts) < LEAST_PATIENTS:
        raise UserError(
            f"fold {fold} of repeat {repeat} would test {counts[0]} patients of the negative and "
            f"{counts[1]} of the positive class, and each needs {LEAST_PATIENTS}; give fewer folds"
        )


_CLASSES = ("negative", "positive")


def _patients(nodules: pd.DataFrame, label: int) -> int:
    return int(nodules.loc[nodules["label"] == label, "patient"].nunique())
