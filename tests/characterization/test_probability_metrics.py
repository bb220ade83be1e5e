"""Calibration, operating points and net benefit: values by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve as sklearn_curve

from semilung.characterization import (
    OutOfFold,
    calibration_curve,
    decision_curve,
    net_benefit,
    operating_points,
)

NODULES = pd.DataFrame({"label": [1, 1, 0, 0]})
SCORES = np.array([[0.9, 0.4, 0.3, 0.1], [0.8, 0.6, 0.7, 0.2]])
RESULTS = OutOfFold(
    NODULES, np.zeros((2, 4), int), {"size": SCORES}, {("size", 0.9): np.full((2, 4), 0.5)}
)


def test_operating_points_count_with_means_over_repeats():
    (point,) = operating_points(RESULTS).to_dict("records")
    assert [point[name] for name in ("tp", "fp", "tn", "fn")] == [1.5, 0.5, 1.5, 0.5]
    assert (point["sensitivity"], point["specificity"]) == (0.75, 0.75)
    assert point["sensitivity_low"] < 0.75 < point["sensitivity_high"]


def test_a_score_at_the_threshold_is_called_positive():
    at = OutOfFold(NODULES, RESULTS.folds, {"size": SCORES}, {("size", 0.9): SCORES})
    assert operating_points(at)["tp"].tolist() == [2]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.5, (1.5 - 0.5) / 4), (0.75, (1 - 0) / 4), (0.2, (2 - 1.5 / 4) / 4)],
)
def test_net_benefit_is_that_of_vickers_and_elkin(threshold, expected):
    assert net_benefit(SCORES, np.array([True, True, False, False]), threshold) == (
        pytest.approx(expected)
    )


def test_decision_curve_has_treating_all_and_none():
    table = decision_curve(RESULTS).set_index(["arm", "threshold"])["net_benefit"]
    assert table["treat none"].eq(0).all()
    assert table["treat all", 0.2] == pytest.approx(0.5 - 0.5 * 0.2 / 0.8)
    assert table["treat all", 0.5] == pytest.approx(0)
    assert table["size"].shape == (99,)


def test_calibration_curve_is_that_of_scikit_learn_with_counts():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200), rng.uniform(size=200)
    results = OutOfFold(pd.DataFrame({"label": labels}), np.zeros((2, 200), int),
                        {"size": np.array([scores, scores])}, {})  # fmt: skip
    table = calibration_curve(results)
    observed, predicted = sklearn_curve(labels, scores, n_bins=10)
    np.testing.assert_allclose(table["share_positive"], observed)
    np.testing.assert_allclose(table["mean_score"], predicted)
    assert table["n"].sum() == 200
    assert table["positives"].sum() == labels.sum()
    counts = np.histogram(scores, bins=10, range=(0, 1))[0]
    np.testing.assert_array_equal(table["n"], counts)


def test_a_probability_of_1_is_in_the_last_bin():
    results = OutOfFold(NODULES, RESULTS.folds[:1], {"size": np.array([[1.0, 1, 0, 0]])}, {})
    assert calibration_curve(results)[["low", "n"]].to_numpy().tolist() == [[0, 2], [0.9, 2]]
