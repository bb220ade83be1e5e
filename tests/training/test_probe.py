"""The probe: what its features measure, whom it judges by what, and how sure an area is."""

import numpy as np
import pytest

from semilung.training.audits.probe import (
    FEATURES,
    auc_with_interval,
    can_separate,
    grouped_scores,
    scanner_features,
)


def named(hu):
    return dict(zip(FEATURES, scanner_features(hu), strict=True))


def white(sd, seed=0):
    return np.random.default_rng(seed).normal(-850, sd, (24, 24, 24))


def test_noise_is_the_logarithm_of_its_standard_deviation():
    assert named(white(20))["noise"] == pytest.approx(np.log(20), abs=0.03)
    assert named(white(20))["sharpness"] == pytest.approx(0, abs=0.03)


def test_anatomy_that_changes_linearly_is_no_noise():
    ramp = 30 * np.arange(24.0)[:, None, None]
    assert named(white(20) + ramp)["noise"] == pytest.approx(named(white(20))["noise"])


def test_a_smooth_kernel_lowers_sharpness():
    """Means of two voxels along X leave (a - b - c + d) / 2 of the second difference of lag 1,
    variance 1, and 3 of that of lag 2: s1 / s2 is 3^-1/2 along one axis, 1 along two."""
    blurred = (lambda x: (x[1:] + x[:-1]) / 2)(white(20))
    expected = np.log(3**-0.5) / 3
    assert named(blurred)["sharpness"] == pytest.approx(expected, abs=0.03)


def test_noise_through_the_plane_stands_apart():
    coarse = np.repeat(white(20)[:, :, ::2], 2, axis=2)
    assert named(coarse)["through_plane"] < -0.2
    assert named(white(20))["through_plane"] == pytest.approx(0, abs=0.05)


def test_air_without_noise_has_finite_features():
    assert np.isfinite(scanner_features(np.full((16, 16, 16), -1000.0))).all()


@pytest.mark.parametrize(
    ("scores", "area"), [([0, 1, 2, 3], 1.0), ([3, 2, 1, 0], 0.0), ([0, 2, 1, 3], 0.75)]
)
def test_area_counts_the_pairs_in_order(scores, area):
    found = auc_with_interval(np.array(scores, float), np.array([False, False, True, True]))
    assert found.value == area


def test_interval_solves_newcombes_equation_on_either_side():
    scores = np.array([0.0, 1, 2, 4, 3, 5, 6, 7])
    found = auc_with_interval(scores, np.array([False] * 4 + [True] * 4))
    assert found.value == 15 / 16
    for bound in (found.low, found.high):
        spread = 1 + 3 * (1 - bound) / (2 - bound) + 3 * bound / (1 + bound)
        reach = 1.96 * np.sqrt(bound * (1 - bound) * spread / 16)
        assert abs(found.value - bound) == pytest.approx(reach, abs=1e-6)
    assert found.low < found.value < found.high


def test_few_units_give_no_result_however_well_they_are_separated():
    assert not can_separate(1, 1000)
    assert not can_separate(2, 5)  # 1 - 1.96 sqrt(1/4 (1 + 2.5 (1/3 + 1/3)) / 10) = -0.01 + 0.5
    assert can_separate(2, 8)
    assert can_separate(3, 4)


def test_a_group_is_scored_by_fits_without_it():
    """Features that name the group tell the class within the fit, and nothing outside it."""
    rng = np.random.default_rng(0)
    groups = [f"g{i}" for i in range(24)]
    own = rng.normal(size=(24, 6))
    rows = np.repeat(np.arange(24), 20)
    positive = (np.arange(24) % 2 == 0)[rows]
    scores, classes = grouped_scores(own[rows], positive, [groups[i] for i in rows], seed=0)
    assert len(scores) == 24
    assert classes.sum() == 12
    assert 0.2 < auc_with_interval(scores, classes).value < 0.8


def test_a_scanner_between_others_is_recognised():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 0.1, 20), rng.choice([-1, 1], 20) + rng.normal(0, 0.1, 20)])
    groups = [str(i) for i in range(40)]
    scores, classes = grouped_scores(x[:, None], np.arange(40) < 20, groups, seed=0)
    assert auc_with_interval(scores, classes).value > 0.95
