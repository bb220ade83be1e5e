"""Choice of a model within the training part."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from semilung.characterization.feature_models import (
    choose_model,
    few_features,
    radiomics_candidates,
)

RNG = np.random.default_rng(1)
LABELS = np.arange(60) % 2
FEATURES = RNG.normal(size=(60, 8))
FEATURES[:, 0] += 2 * LABELS
ROWS = np.arange(60)
SPLITS = [(np.delete(ROWS, test), test) for test in (ROWS[0::3], ROWS[1::3], ROWS[2::3])]


def candidates(kind, **options):
    return radiomics_candidates(kind, **{"stable": None, "redundancy": 0.9, "seed": 0, **options})


@pytest.mark.parametrize("kind", ["logistic", "boosting"])
def test_models_separate_classes_and_take_missing_values(kind):
    features = FEATURES.copy()
    features[::7, 1] = np.nan
    features[:, 2] = np.nan
    model = choose_model(candidates(kind), features, LABELS, SPLITS)
    assert model.loss == log_loss(LABELS, model.held_out) < 0.55
    assert not np.isnan(model.probability(np.full((1, 8), np.nan))).any()


def test_held_out_probabilities_are_of_models_of_the_other_folds():
    kind = few_features()
    model = choose_model(kind, FEATURES[:, :1], LABELS, SPLITS)
    fit, test = SPLITS[1]
    scaled = kind.prepare.fit(FEATURES[fit, :1])
    other = kind.candidates[0].fit(scaled.transform(FEATURES[fit, :1]), LABELS[fit])
    expected = other.predict_proba(scaled.transform(FEATURES[test, :1]))[:, 1]
    np.testing.assert_allclose(model.held_out[test], expected)


def test_the_candidate_of_the_lowest_inner_loss_is_chosen():
    noise = np.random.default_rng(5).normal(size=(60, 8))
    strict = choose_model(candidates("logistic"), noise, LABELS, SPLITS)
    loose = choose_model(candidates("logistic"), FEATURES, LABELS, SPLITS)
    penalties = [model.pipeline.steps[-1][1].C for model in (strict, loose)]
    assert penalties[0] < penalties[1]


def test_probabilities_of_every_penalty_are_about_the_prevalence():
    rng = np.random.default_rng(2)
    noise, labels = rng.normal(size=(300, 8)), np.arange(300) % 10 == 0
    kind = candidates("logistic")
    prepared = kind.prepare.fit_transform(noise, labels)
    for candidate in kind.candidates:
        mean = candidate.fit(prepared, labels).predict_proba(prepared)[:, 1].mean()
        assert mean == pytest.approx(0.1, abs=0.01)
