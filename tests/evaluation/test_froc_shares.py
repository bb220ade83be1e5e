"""Findings next to nodules: by hand, and equal to the challenge's evaluation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semilung.evaluation import luna16_froc
from semilung.evaluation.froc_shares import (
    froc_points,
    froc_shares,
    match_findings,
    threshold_at_sensitivity,
)


def match(points, probability, centres, diameters, ignored):
    return match_findings(
        np.array(points, float).reshape(-1, 3),
        np.array(probability, float),
        np.array(centres, float).reshape(-1, 3),
        np.array(diameters, float),
        np.array(ignored, bool),
    )


def test_match_findings_takes_the_most_probable_strictly_within_the_radius():
    points = [[0, 0, 0], [1, 0, 0], [5, 0, 0], [20, 0, 0], [50, 0, 0]]
    probability = [0.3, 0.7, 0.9, 0.8, 0.6]
    matched = match(points, probability, [[0, 0, 0], [20, 0, 0]], [10, 6], [False, True])
    assert matched.hit.tolist() == [1, -1]
    assert matched.false.tolist() == [False, False, True, False, True]  # 5 mm is not within 5 mm


def test_match_findings_without_nodules_or_findings():
    assert match([[0, 0, 0]], [0.5], [], [], []).false.tolist() == [True]
    assert match([], [], [[0, 0, 0]], [8], [False]).hit.tolist() == [-1]


def test_froc_shares_by_hand():
    # two scans; false positives at .85 and .5: .9 is hit at 0, .6 at 1/2, .4 at 1 per scan
    scores, false = np.array([0.9, 0.6, 0.4, np.nan]), np.array([0.85, 0.5])
    thresholds, rates = froc_points(scores, false, 2)
    assert thresholds.tolist() == [0.9, 0.85, 0.6, 0.5, 0.4]
    assert rates.tolist() == [0, 0.5, 0.5, 1, 1]
    assert froc_shares(scores, false, 2).tolist() == pytest.approx([1, 5 / 7, 4 / 7, 0])


marks = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.sampled_from([0.1, 0.3, 0.5, 0.9])),
    max_size=12,
)
nodules = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 6)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(marks, nodules, nodules)
def test_froc_shares_of_nodules_apart_have_the_challenges_cpm_as_mean(marks, nodules, excluded):
    # one position a scan for each nodule, 100 mm apart, so that no mark is on two
    nodules = [(scan, 100 * i, mm) for i, (scan, _, mm) in enumerate(nodules)]
    excluded = [(scan, 100 * i + 50, mm) for i, (scan, _, mm) in enumerate(excluded)]
    marks = [(scan, 50.0 * place + 1, p) for scan, place, p in marks]
    uids = [*"abcd"]
    detections = pd.DataFrame(
        [(uids[s], x, 0.0, 0.0, p) for s, x, p in marks],
        columns=["seriesuid", "coordX", "coordY", "coordZ", "probability"],
    )
    annotations, others = (
        pd.DataFrame(
            [(uids[s], x, 0.0, 0.0, mm) for s, x, mm in rows],
            columns=["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"],
        )
        for rows in (nodules, excluded)
    )
    expected = luna16_froc(detections, annotations, others, uids, bootstrap=0)
    scores, false = [], []
    for scan in range(4):
        found = [(x, p) for s, x, p in marks if s == scan]
        reference = [(*row[1:], False) for row in nodules if row[0] == scan]
        reference += [(*row[1:], True) for row in excluded if row[0] == scan]
        probability = [p for _, p in found]
        matched = match(
            [[x, 0, 0] for x, _ in found],
            probability,
            [[x, 0, 0] for x, _, _ in reference],
            [mm for _, mm, _ in reference],
            [ignored for *_, ignored in reference],
        )
        false += [p for p, alone in zip(probability, matched.false, strict=True) if alone]
        scores += [
            probability[hit] if hit >= 0 else np.nan
            for hit, (*_, ignored) in zip(matched.hit, reference, strict=True)
            if not ignored
        ]
    shares = froc_shares(np.array(scores), np.array(false), 4)
    mean = shares.mean() if len(shares) else np.nan
    np.testing.assert_allclose(mean, expected.cpm, atol=1e-12)


def test_threshold_at_sensitivity_is_the_least_strict_that_reaches_it():
    scores = np.array([0.9, 0.8, 0.3, 0.2, np.nan])
    assert threshold_at_sensitivity(scores, 0.6) == 0.3
    assert threshold_at_sensitivity(scores, 0.8) == 0.2
    assert np.isnan(threshold_at_sensitivity(scores, 0.9))
    assert np.isnan(threshold_at_sensitivity(np.array([]), 0.8))
