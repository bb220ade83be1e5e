from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semilung.data.loading.intensity import scale_hu
from semilung.data.loading.sampling import draw, random_target, random_window, sample_rng

SIZES = st.tuples(*[st.integers(1, 60)] * 3)


@given(n=st.integers(1, 30), seed=st.integers(0, 99), epoch=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_draw_yields_each_case_once_an_epoch(n, seed, epoch):
    drawn = [draw(seed, "healthy", index, n) for index in range(epoch * n, (epoch + 1) * n)]
    assert sorted(drawn) == list(range(n))


def test_draw_order_differs_between_epochs_streams_and_seeds():
    def order(seed, stream, epoch):
        return tuple(draw(seed, stream, epoch * 20 + i, 20) for i in range(20))

    assert len({order(0, "a", 0), order(0, "a", 1), order(0, "b", 0), order(1, "a", 0)}) == 4


def test_sample_rng_and_bag_rng_are_pure_and_distinct():
    def numbers(*key):
        return tuple(sample_rng(*key).random(3))

    assert numbers(0, "a", 5) == numbers(0, "a", 5)
    assert (
        len({numbers(0, "a", 5), numbers(0, "a", 6), numbers(0, "b", 5), numbers(1, "a", 5)}) == 4
    )


@given(shape=SIZES, size=SIZES, overhang=st.floats(0, 0.5), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=150, deadline=None)
def test_random_window_stays_within_the_overhang(shape, size, overhang, seed, data):
    nodule = np.array([data.draw(st.integers(0, n - 1)) for n in shape], np.int16)
    for voxel in (None, nodule):
        rng = np.random.default_rng(seed)
        start = np.array(random_window(rng, shape, size, voxel=voxel, overhang=overhang))
        stop, beyond = start + size, np.floor(overhang * np.array(size))
        holds_volume = (start <= 0) & (stop >= shape)
        within = (start >= -beyond) & (stop <= shape + beyond)
        assert (holds_volume | within).all()
        if voxel is not None:
            assert ((start <= voxel) & (voxel < stop)).all()


def test_random_window_holds_a_nodule_at_every_offset():
    voxel = np.array([30, 30, 30], np.int16)
    starts = [
        random_window(np.random.default_rng(i), (60,) * 3, (10,) * 3, voxel=voxel, overhang=0.0)
        for i in range(2000)
    ]
    counts = np.bincount(30 - np.array(starts)[:, 0], minlength=10)
    # 2000 throws in 10 bins: 200 each, standard deviation 13.4.
    assert counts.min() > 140
    assert counts.max() < 260


@pytest.mark.parametrize("zoom", [0.5, 2.0, 4.0])
def test_random_window_zoomed_holds_a_nodule_at_every_offset(zoom):
    voxel, size = np.array([60, 60, 60], np.int16), (21, 21, 21)
    starts = [
        random_window(
            np.random.default_rng(i), (120,) * 3, size, voxel=voxel, overhang=0.0, zoom=zoom
        )
        for i in range(1000)
    ]
    offsets = zoom * (60 - (np.array(starts) + 10))  # from the centre, after the zoom
    assert np.abs(offsets).max() <= 10 + zoom / 2  # a window starts at a whole voxel
    assert offsets.min() <= -8
    assert offsets.max() >= 8


def test_random_target_is_drawn_with_the_given_probability():
    foreground = np.zeros((5, 3), np.int16)
    aims = [random_target(np.random.default_rng(i), foreground, 0.8) for i in range(1000)]
    assert aims.count(None) == pytest.approx(200, abs=40)
    assert set(aims) == {None, 0, 1, 2, 3, 4}
    assert random_target(np.random.default_rng(0), foreground[:0], 1.0) is None


def test_random_window_small_volume_is_at_every_offset():
    starts = {
        random_window(np.random.default_rng(i), (3, 3, 3), (8, 8, 8), overhang=0.0)[0]
        for i in range(300)
    }
    assert starts == set(range(-5, 1))


def test_random_window_half_overhang_makes_every_voxel_equally_often_the_centre():
    starts = [
        random_window(np.random.default_rng(i), (10, 10, 10), (5, 5, 5), overhang=0.5)
        for i in range(3000)
    ]
    centres = np.bincount(np.array(starts)[:, 1] + 2, minlength=10)
    assert len(centres) == 10
    assert centres.min() > 220
    assert centres.max() < 380


def test_scale_hu_matches_values_by_hand():
    hu = np.array([-3000, -1000, -650, 400, 3000], np.int16)
    scaled = scale_hu(hu, (-1000, 400))
    np.testing.assert_allclose(scaled, [0, 0, 0.25, 1, 1])
    assert scaled.dtype == np.float32
    with pytest.raises(ValueError, match="low to high"):
        scale_hu(hu, (400, -1000))
