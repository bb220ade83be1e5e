"""All tables of a study, by the names of their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from semilung.characterization.arm_metrics import metrics_table, with_labels
from semilung.characterization.characterization_settings import CharacterizationSettings
from semilung.characterization.labelled_nodules import NoduleStudy
from semilung.characterization.nested_cv import FoldResult
from semilung.characterization.nodule_folds import fold_table
from semilung.characterization.out_of_fold import OutOfFold, collect
from semilung.characterization.probability_metrics import (
    calibration_curve,
    decision_curve,
    operating_points,
)
from semilung.characterization.selected_features import feature_shares

TABLES = (
    *("folds", "scores", "metrics", "operating_points", "calibration", "decision_curve"),
    "selected_features",
)
"""Tables of a study, fields of `StudyTables`; the first is written with --folds-only too."""

RECORD = "settings.json"
"""The file that is written last: where it is, the study is whole."""

FILES = (*(f"{name}.csv" for name in TABLES), "index.html", RECORD)
"""Files of a study's folder."""


@dataclass(frozen=True)
class StudyTables:
    """Results of a study.

    Attributes:
        results: Out-of-fold scores.
        folds: As returned by `fold_table`.
        scores: Those of `results`, a row a repeat, arm and nodule.
        metrics: As returned by `metrics_table`, then the rows of an external evaluation.
        operating_points: As returned by the function of this name.
        calibration: As returned by `calibration_curve`.
        decision_curve: As returned by the function of this name.
        selected_features: As returned by `feature_shares`.
    """

    results: OutOfFold
    folds: pd.DataFrame
    scores: pd.DataFrame
    metrics: pd.DataFrame
    operating_points: pd.DataFrame
    calibration: pd.DataFrame
    decision_curve: pd.DataFrame
    selected_features: pd.DataFrame

    @classmethod
    def of(
        cls,
        study: NoduleStudy,
        folds: Sequence[FoldResult],
        settings: CharacterizationSettings,
        external: pd.DataFrame | None = None,
    ) -> StudyTables:
        """Return the tables of the results of all folds.

        Args:
            study: Its nodules.
            folds: Results of all folds of all repeats.
            settings: Of the study.
            external: Other labels of some nodules, `case, nodule, label`; None for no such rows.
        """
        results = collect(study.nodules, folds)
        metrics = [metrics_table(results, settings)]
        if external is not None:
            metrics.append(with_labels(results, external, settings))
        return cls(
            results,
            fold_table(study.nodules, [result.fold for result in folds]),
            results.table(),
            pd.concat(metrics, ignore_index=True),
            operating_points(results),
            calibration_curve(results),
            decision_curve(results),
            feature_shares([table for result in folds for table in result.features], len(folds)),
        )

    def files(self) -> dict[str, pd.DataFrame]:
        """Return each table by the name of its file."""
        return {f"{name}.csv": getattr(self, name) for name in TABLES}
