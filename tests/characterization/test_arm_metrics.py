"""AUC of arms next to size, overall and by size."""

import numpy as np
import pandas as pd
import pytest

from semilung.characterization import (
    CharacterizationSettings,
    Fold,
    FoldResult,
    OutOfFold,
    collect,
    metrics_table,
    with_labels,
)
from semilung.characterization.nested_cv import ArmScores
from semilung.characterization.out_of_fold import threshold_at

SETTINGS = CharacterizationSettings(bootstraps=400, size_bins_mm=(10.0,))


def out_of_fold(**scores):
    """Results of two repeats of the arms' scores, of 40 nodules of 20 patients."""
    nodules = pd.DataFrame(
        {
            "case": [f"c{i:02}" for i in range(40)],
            "nodule": "1",
            "patient": np.arange(40) // 2,
            "label": np.arange(40) // 2 % 2,
            "diameter_mm": [5.0] * 10 + [20.0] * 30,
        }
    )
    rows = {arm: np.array([score, score]) for arm, score in scores.items()}
    return OutOfFold(nodules, np.zeros((2, 40), int), rows, {})


RNG = np.random.default_rng(0)
LABEL = np.arange(40) // 2 % 2
RESULTS = out_of_fold(size=RNG.uniform(size=40), good=LABEL * 0.8 + 0.1, same=np.full(40, 0.5))


def row(table, arm, population="all"):
    chosen = table[(table["arm"] == arm) & (table["population"] == population)]
    return chosen.iloc[0]


def test_metrics_compare_arms_with_size_with_intervals_and_holm():
    table = metrics_table(RESULTS, SETTINGS)
    size, good, same = (row(table, arm) for arm in ("size", "good", "same"))
    assert (good["auc"], same["auc"]) == (1, 0.5)
    assert good["difference"] == pytest.approx(1 - size["auc"])
    assert 0 < good["difference_low"] < good["difference"] < good["difference_high"]
    assert good["p"] == pytest.approx(2 / 401)
    assert good["p_holm"] == pytest.approx(4 / 401)
    assert same["p_holm"] == pytest.approx(same["p"])
    assert np.isnan([size["difference"], size["p"], size["p_holm"]]).all()
    assert size["low"] < size["delong_low"] + 0.1
    assert (good["brier"], same["brier"]) == pytest.approx((0.01, 0.25))


def test_metrics_of_bins_count_classes():
    table = metrics_table(RESULTS, SETTINGS)
    assert table["population"].unique().tolist() == ["all", "< 10 mm", ">= 10 mm"]
    counts = table.groupby("population")[["n", "positives", "negatives", "patients"]].first()
    assert counts.to_numpy().tolist() == [[10, 4, 6, 5], [30, 16, 14, 15], [40, 20, 20, 20]]


def test_metrics_of_a_bin_without_a_class_or_nodules_are_undefined():
    bins = CharacterizationSettings(bootstraps=100, size_bins_mm=(10.0, 30.0))
    results = out_of_fold(size=RNG.uniform(size=40), good=LABEL * 0.5)
    results.nodules.loc[:9, "label"] = 0
    table = metrics_table(results, bins)
    for population in ("< 10 mm", ">= 30 mm"):
        values = row(table, "good", population)
        assert np.isnan(
            values[["auc", "low", "difference", "difference_low", "p_holm"]].tolist()
        ).all()
    assert row(table, "good", "< 10 mm")["brier"] >= 0
    assert np.isnan(row(table, "good", ">= 30 mm")["brier"])


def test_intervals_of_one_patient_of_a_class_are_undefined():
    results = out_of_fold(size=RNG.uniform(size=40), good=LABEL * 0.5)
    results.nodules["label"] = [1, 1] + [0] * 38
    values = row(metrics_table(results, SETTINGS), "good")
    assert values["auc"] >= 0
    names = ["low", "high", "delong_low", "difference_low", "p"]
    assert np.isnan(values[names].tolist()).all()


def test_metrics_with_other_labels_are_of_the_nodules_that_have_them():
    labels = pd.DataFrame({"case": ["c00", "c01", "c02", "c05", "x"], "nodule": "1",
                           "label": [1.0, 1, 0, 0, 1]})  # fmt: skip
    table = with_labels(RESULTS, labels, SETTINGS)
    good = row(table, "good", "external")
    assert (good["n"], good["positives"], good["negatives"]) == (4, 2, 2)
    assert good["auc"] == 0.25 * (0 + 1)  # c02 and c05 are positive in the study, c05 not


@pytest.mark.parametrize(
    ("sensitivity", "threshold"), [(0.9, 0.1), (0.8, 0.3), (0.5, 0.5), (0.2, 0.9)]
)
def test_threshold_is_the_highest_that_reaches_the_sensitivity(sensitivity, threshold):
    scores = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 0.95])
    assert threshold_at(sensitivity, scores, np.array([1, 1, 1, 1, 1, 0])) == threshold


def test_thresholds_and_scores_are_of_the_fold_that_tests_a_nodule():
    rows = np.arange(4)
    folds = [Fold(0, k, rows, rows, rows[k::2]) for k in (0, 1)]
    reference, labels = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 1, 1, 1])
    results = [
        FoldResult(fold, {"size": ArmScores(np.full(2, 0.9), reference + k, labels)}, [])
        for k, fold in enumerate(folds)
    ]
    collected = collect(RESULTS.nodules.iloc[:4], results)
    assert collected.folds.tolist() == [[0, 1, 0, 1]]
    assert collected.thresholds["size", 0.95].tolist() == [[0.4, 1.4, 0.4, 1.4]]
    assert collected.scores["size"].tolist() == [[0.9] * 4]
