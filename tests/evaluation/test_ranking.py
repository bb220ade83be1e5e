"""AUC as a mean over nodules, with the variance of DeLong."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from semilung.evaluation.ranking import auc_shares


@pytest.mark.parametrize("seed", range(5))
def test_auc_shares_mean_is_the_auc_with_ties(seed):
    generator = np.random.default_rng(seed)
    positive = generator.random(60) < 0.3
    scores = (generator.normal(size=60) + positive).round(1)
    assert auc_shares(scores, positive).mean() == pytest.approx(roc_auc_score(positive, scores))


def test_auc_shares_spread_is_that_of_delong():
    generator = np.random.default_rng(0)
    positive = np.arange(80) < 30
    scores = generator.normal(size=80) + positive
    above = scores[positive, None] > scores[None, ~positive]
    by_positive, by_negative = above.mean(axis=1), above.mean(axis=0)
    delong = by_positive.var() / 30 + by_negative.var() / 50
    assert auc_shares(scores, positive).var() / 80 == pytest.approx(delong)


def test_auc_shares_of_one_class_is_undefined():
    assert np.isnan(auc_shares(np.array([0.1, 0.2]), np.array([True, True]))).all()
