"""Characterization of nodules by their features: nested, patient-wise cross-validation."""

from semilung.characterization.arm_metrics import metrics_table, with_labels
from semilung.characterization.auc_intervals import concordance, delong
from semilung.characterization.characterization_settings import CharacterizationSettings
from semilung.characterization.given_scores import read_scores
from semilung.characterization.labelled_nodules import NoduleStudy, labels_of, read_study
from semilung.characterization.nested_cv import SIZE, FoldResult, cross_validate
from semilung.characterization.nodule_folds import Fold, fold_table, make_folds
from semilung.characterization.out_of_fold import OutOfFold, collect
from semilung.characterization.probability_metrics import (
    TREAT_ALL,
    TREAT_NONE,
    calibration_curve,
    decision_curve,
    net_benefit,
    operating_points,
)
from semilung.characterization.selected_features import feature_shares

__all__ = [
    "SIZE",
    "TREAT_ALL",
    "TREAT_NONE",
    "CharacterizationSettings",
    "Fold",
    "FoldResult",
    "NoduleStudy",
    "OutOfFold",
    "calibration_curve",
    "collect",
    "concordance",
    "cross_validate",
    "decision_curve",
    "delong",
    "feature_shares",
    "fold_table",
    "labels_of",
    "make_folds",
    "metrics_table",
    "net_benefit",
    "operating_points",
    "read_scores",
    "read_study",
    "with_labels",
]
