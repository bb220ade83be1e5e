from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semilung.evaluation import bootstrap_mean

values = st.lists(st.floats(-100, 100), min_size=2, max_size=12)


def test_bootstrap_mean_undefined_values_are_excluded():
    with_nan = bootstrap_mean([0.0, math.nan, 1.0, 2.0, math.nan])
    assert with_nan == bootstrap_mean([0.0, 1.0, 2.0])
    assert (with_nan.mean, with_nan.n) == (1.0, 3)


def test_bootstrap_mean_of_fewer_than_two_values_is_nan():
    nothing, one = bootstrap_mean([math.nan]), bootstrap_mean([0.7])
    assert nothing.n == 0
    assert math.isnan(nothing.mean)
    assert one.mean == 0.7
    assert math.isnan(one.low)
    assert math.isnan(one.high)


def test_bootstrap_mean_of_two_values_equals_hand_calculation():
    # The mean of two draws from {0, 1} is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    assert bootstrap_mean([0.0, 1.0], level=0.9)[:3] == (0.5, 0.0, 1.0)
    assert bootstrap_mean([0.0, 1.0], level=0.4)[:3] == (0.5, 0.5, 0.5)


@given(values)
def test_bootstrap_mean_interval_lies_within_the_values_and_is_reproducible(values):
    interval = bootstrap_mean(values, resamples=200)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert interval == bootstrap_mean(values, resamples=200)


def test_bootstrap_mean_another_seed_gives_another_interval():
    data = np.arange(7.0) ** 2
    assert bootstrap_mean(data, seed=0) != bootstrap_mean(data, seed=1)


def test_bootstrap_mean_coverage_is_near_its_level():
    rng = np.random.default_rng(3)
    samples = rng.normal(5, 2, size=(300, 40))
    hits = [i.low <= 5 <= i.high for i in (bootstrap_mean(s, resamples=400) for s in samples)]
    assert 0.89 <= np.mean(hits) <= 0.98  # 0.95 less the small-sample shortfall, +-3 sigma


def test_bootstrap_mean_width_matches_normal_theory():
    data = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_mean(data)
    expected = 2 * 1.96 * data.std() / 20
    assert interval.high - interval.low == pytest.approx(expected, rel=0.08)


def test_bootstrap_mean_level_above_one_is_an_error():
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean([1.0, 2.0], level=95)
