"""The filter of features: stable, varying, not redundant."""

import numpy as np
import pytest

from semilung.characterization.feature_filter import FeatureFilter

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 2
STRONG = LABELS + RNG.normal(scale=0.5, size=40)
FEATURES = np.column_stack([np.exp(STRONG + RNG.normal(scale=0.05, size=40)), STRONG,
                            RNG.normal(size=40), np.zeros(40)])  # fmt: skip


@pytest.mark.parametrize(
    ("stable", "redundancy", "kept"),
    [(None, 0.9, 2), (None, 1.0, 3), ([0, 2], 0.9, 2), ([2], 0.9, 1), ([3], 0.9, 1)],
)
def test_filter_keeps_stable_features_that_are_not_redundant(stable, redundancy, kept):
    fitted = FeatureFilter(stable, redundancy).fit(FEATURES, LABELS)
    assert len(fitted.kept_) == kept
    assert set(fitted.kept_) <= set(range(4) if stable is None else stable)
    assert fitted.transform(FEATURES).shape == (40, kept)


def test_filter_keeps_of_two_correlated_features_the_one_that_says_more():
    weak = np.argsort(np.argsort(STRONG)) + RNG.normal(scale=3, size=40)
    for order in ([0, 1], [1, 0]):
        fitted = FeatureFilter().fit(np.column_stack([STRONG, weak])[:, order], LABELS)
        assert fitted.kept_.tolist() == [order.index(0)]
