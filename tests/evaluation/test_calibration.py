from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semilung.evaluation import calibration


def scan(*values: float) -> np.ndarray:
    return np.array(values).reshape(len(values), 1, 1)


def test_calibration_of_six_voxels_equals_hand_calculation():
    # Bins are 1/15 = 0.0667 wide: 0.01 | 0.07 | 0.75, 0.78 | 0.96, 1.0.
    p, r = scan(0.01, 0.07, 0.75, 0.78, 0.96, 1.0), scan(0, 1, 1, 0, 7, 1)
    actual = calibration(p, r)
    gaps = [0.01, 0.93, abs(0.75 + 0.78 - 1), 0.04]
    assert actual.ece == pytest.approx(sum(gaps) / 6)
    assert actual.foreground_ece == pytest.approx(sum(gaps[1:]) / 5)
    squares = [0.01**2, 0.93**2, 0.25**2, 0.78**2, 0.04**2, 0]
    assert actual.brier == pytest.approx(sum(squares) / 6)


def test_calibration_bins_are_closed_below_and_the_last_on_both_sides():
    # 1/3 = 5/15 begins bin 5; 0.33 is in bin 4, where it is not averaged with 1/3.
    p, r = scan(0.33, 1 / 3), scan(1, 0)
    assert calibration(p, r).ece == pytest.approx((0.67 + 1 / 3) / 2)
    assert calibration(scan(0.95, 1.0), scan(0, 1)).ece == pytest.approx(0.95 / 2)


def test_calibration_ignored_voxels_are_excluded():
    p, r = scan(0.2, 0.9, 0.9), scan(0, 1, 255)
    assert calibration(p, r) == calibration(p[:2], r[:2])
    assert all(math.isnan(value) for value in calibration(p[2:], r[2:]))


def test_calibration_overconfident_finding_raises_foreground_ece_only():
    p, r = np.zeros((10, 10, 100)), np.zeros((10, 10, 100), np.uint8)
    p[0, 0, :10], r[0, 0, :2] = 0.99, 1
    actual = calibration(p, r)
    assert actual.ece == pytest.approx(10 * 0.79 / 10_000)
    assert actual.foreground_ece == pytest.approx(0.79)


def test_calibration_silent_scan_has_undefined_foreground_ece():
    actual = calibration(scan(0.0, 0.05), scan(0, 1))
    assert math.isnan(actual.foreground_ece)
    assert actual.ece == pytest.approx((1 - 0.05) / 2)


def test_calibration_of_a_calibrated_network_is_zero():
    p = np.repeat([0.1, 0.5, 0.9], 10).reshape(5, 6, 1)
    r = np.concatenate([np.arange(10) < n for n in (1, 5, 9)]).reshape(5, 6, 1).astype(np.uint8)
    actual = calibration(p.astype(np.float32), r)
    assert actual[:2] == pytest.approx((0, 0), abs=1e-6)
    assert actual.brier == pytest.approx((0.09 + 0.25 + 0.09) / 3)


shapes = st.tuples(*[st.integers(1, 4)] * 3)


@settings(deadline=None)
@given(shapes.flatmap(lambda shape: st.tuples(
    arrays(np.float32, shape, elements=st.floats(0, 1, width=32)),
    arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 255])),
)))  # fmt: skip
def test_calibration_equals_its_definition_per_voxel(case):
    p, r = case
    voxels = [(float(a), float(b)) for a, b in zip(p.flat, r.flat, strict=True) if b != 255]

    def error(subset):
        if not subset:
            return math.nan
        bins = [[v for v in subset if min(int(v[0] * 15), 14) == b] for b in range(15)]
        gaps = [
            len(b) * abs(np.mean([v[0] for v in b]) - np.mean([v[1] for v in b])) for b in bins if b
        ]
        return sum(gaps) / len(subset)

    brier = np.mean([(a - b) ** 2 for a, b in voxels]) if voxels else math.nan
    expected = error(voxels), error([v for v in voxels if v[0] > 0.05]), brier
    assert calibration(p, r) == pytest.approx(expected, nan_ok=True)


def test_calibration_of_unequal_shapes_is_an_error():
    with pytest.raises(ValueError, match="shape"):
        calibration(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))
