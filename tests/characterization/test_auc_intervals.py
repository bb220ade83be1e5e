"""AUC with intervals: golden values by hand and of scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from semilung.characterization.auc_intervals import (
    bootstrap_p,
    concordance,
    delong,
    foldwise_auc,
    patient_weights,
    percentile_interval,
    resampled_aucs,
)
from semilung.evaluation.ranking import auc_shares

RNG = np.random.default_rng(0)
POSITIVE = np.arange(60) % 3 == 0
SCORES = (RNG.normal(size=(2, 60)) + POSITIVE).round(1)


def test_auc_is_the_mean_over_repeats_of_scikit_learns():
    expected = np.mean([roc_auc_score(POSITIVE, row) for row in SCORES])
    assert delong(concordance(SCORES, POSITIVE)).auc == pytest.approx(expected)


def test_delongs_interval_by_hand():
    """Positives 2, 4 and negatives 1, 3: placements 1/2, 1 and 1, 1/2."""
    pairs = concordance(np.array([[2.0, 4, 1, 3]]), np.array([True, True, False, False]))
    auc, low, high = delong(pairs)
    half = 1.959963984540054 * math.sqrt(0.125 / 2 + 0.125 / 2)
    assert (auc, low, high) == pytest.approx((0.75, 0.75 - half, 1.0))


def test_delongs_variance_is_that_of_the_shares_of_the_auc():
    auc, low, high = delong(concordance(SCORES[:1], POSITIVE))
    placements = auc + (auc_shares(SCORES[0], POSITIVE) - auc) * np.where(POSITIVE, 20, 40) / 60
    variance = placements[POSITIVE].var(ddof=1) / 20 + placements[~POSITIVE].var(ddof=1) / 40
    assert high - low == pytest.approx(2 * 1.959963984540054 * math.sqrt(variance))


@pytest.mark.parametrize(("positives", "auc"), [(0, math.nan), (1, 1.0), (3, math.nan)])
def test_auc_of_an_empty_class_and_intervals_of_one_nodule_are_undefined(positives, auc):
    positive = np.arange(3) < positives
    value, low, high = delong(concordance(np.array([[3.0, 2, 1]]), positive))
    assert value == pytest.approx(auc, nan_ok=True)
    assert math.isnan(low)
    assert math.isnan(high)


def test_weights_draw_whole_patients():
    patients = ["a", "b", "a", "c"]
    weights = patient_weights(patients, 200, seed=0)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert (weights == patient_weights(patients, 200, seed=0)).all()
    assert weights.mean() == pytest.approx(1, abs=0.15)


def test_resampled_aucs_are_those_of_repeated_nodules():
    pairs = concordance(SCORES, POSITIVE)
    weights = patient_weights(np.arange(60) // 2, 5, seed=1)
    for auc, weight in zip(resampled_aucs(pairs, POSITIVE, weights), weights, strict=True):
        rows = np.repeat(np.arange(60), weight.astype(int))
        expected = np.mean([roc_auc_score(POSITIVE[rows], row[rows]) for row in SCORES])
        assert auc == pytest.approx(expected)


def test_resamples_without_a_class_are_undefined_and_left_out_of_intervals():
    values = resampled_aucs(np.ones((1, 1)), np.array([True, False]), np.array([[0, 2.0], [1, 1]]))
    assert values.tolist() == pytest.approx([math.nan, 1.0], nan_ok=True)
    assert percentile_interval(values) == (1.0, 1.0)
    assert all(map(math.isnan, percentile_interval(values[:1])))
    assert math.isnan(bootstrap_p(values[:1]))


@pytest.mark.parametrize(("above", "p"), [(99, 4 / 101), (50, 1.0), (0, 2 / 101)])
def test_bootstrap_p_is_twice_the_smaller_tail(above, p):
    assert bootstrap_p(np.array([1.0] * above + [-1.0] * (100 - above))) == pytest.approx(p)


def test_foldwise_auc_compares_nodules_of_one_fold_alone():
    positive = np.array([True, False, True, False, False])
    scores = np.array([[0.2, 0.1, 0.9, 0.8, 0.5]])
    assert concordance(scores, positive).mean() < 1
    assert foldwise_auc(scores, np.array([[0, 0, 1, 1, 2]]), positive) == 1
    assert math.isnan(foldwise_auc(scores, np.array([[0, 1, 2, 3, 4]]), positive))
