from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from semilung.evaluation import holm, wilson

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def test_holm_equals_hand_calculation():
    # Ascending 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04; never falling.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.4, 0.9]) == pytest.approx([1, 1, 1])
    assert holm([]).tolist() == []


def test_holm_undefined_p_values_do_not_count():
    adjusted = holm([0.02, math.nan, 0.03])
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.04])
    assert math.isnan(adjusted[1])


@given(p_values)
def test_holm_is_monotone_and_between_p_and_bonferroni(p):
    adjusted, p = holm(p), np.array(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * p)).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


@given(p_values, st.floats(0.001, 0.999))
def test_holm_rejects_as_the_step_down_procedure(p, alpha):
    rejected = [False] * len(p)
    for step, index in enumerate(np.argsort(p, kind="stable")):
        if p[index] * (len(p) - step) > alpha:
            break
        rejected[index] = True
    assert (holm(p) <= alpha).tolist() == rejected


@given(st.integers(0, 12), st.integers(1, 12))
def test_wilson_equals_scipy(hits, n):
    hits = min(hits, n)
    interval = wilson([1.0] * hits + [0.0] * (n - hits))
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert interval[:3] == pytest.approx((hits / n, expected.low, expected.high))
    assert interval.n == n


def test_wilson_of_shares_and_of_no_values_is_defined():
    # Two lesions, each detected by half of the seeds: as wide as one detected of two.
    assert wilson([0.5, 0.5, math.nan]) == pytest.approx(wilson([0, 1]))
    assert wilson([]).n == 0
    assert math.isnan(wilson([]).low)
