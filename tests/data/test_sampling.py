from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semilung.data.intensity import scale_hu
from semilung.data.sampling import draw, random_window, sample_rng

SIZES = st.tuples(*[st.integers(1, 60)] * 3)


@given(n=st.integers(1, 30), seed=st.integers(0, 99), epoch=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_each_case_comes_once_an_epoch(n, seed, epoch):
    drawn = [draw(seed, "healthy", index, n) for index in range(epoch * n, (epoch + 1) * n)]
    assert sorted(drawn) == list(range(n))


def test_order_differs_between_epochs_streams_and_seeds():
    def order(seed, stream, epoch):
        return tuple(draw(seed, stream, epoch * 20 + i, 20) for i in range(20))

    assert len({order(0, "a", 0), order(0, "a", 1), order(0, "b", 0), order(1, "a", 0)}) == 4


def test_generators_are_pure_and_distinct():
    def numbers(*key):
        return tuple(sample_rng(*key).random(3))

    assert numbers(0, "a", 5) == numbers(0, "a", 5)
    assert (
        len({numbers(0, "a", 5), numbers(0, "a", 6), numbers(0, "b", 5), numbers(1, "a", 5)}) == 4
    )


@given(shape=SIZES, size=SIZES, overhang=st.floats(0, 0.5), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=150, deadline=None)
def test_windows_keep_the_rules(shape, size, overhang, seed, data):
    voxel = np.array([[data.draw(st.integers(0, n - 1)) for n in shape]], np.int16)
    options = {"foreground": voxel, "overhang": overhang}
    for probability in (0.0, 1.0):
        rng = np.random.default_rng(seed)
        start = np.array(random_window(rng, shape, size, probability=probability, **options))
        stop, beyond = start + size, np.floor(overhang * np.array(size))
        holds_volume = (start <= 0) & (stop >= shape)
        within = (start >= -beyond) & (stop <= shape + beyond)
        assert (holds_volume | within).all()
        if probability:
            assert ((start <= voxel[0]) & (voxel[0] < stop)).all()


def test_a_nodule_is_met_at_every_offset():
    voxel = np.array([[30, 30, 30]], np.int16)
    starts = [
        random_window(
            np.random.default_rng(i),
            (60, 60, 60),
            (10, 10, 10),
            foreground=voxel,
            probability=1.0,
            overhang=0.0,
        )
        for i in range(2000)
    ]
    counts = np.bincount(30 - np.array(starts)[:, 0], minlength=10)
    # 2000 throws in 10 bins: 200 each, standard deviation 13.4.
    assert counts.min() > 140
    assert counts.max() < 260


def test_small_volumes_meet_every_offset_in_the_window():
    starts = {
        random_window(
            np.random.default_rng(i),
            (3, 3, 3),
            (8, 8, 8),
            foreground=np.empty((0, 3), np.int16),
            probability=1.0,
            overhang=0.0,
        )[0]
        for i in range(300)
    }
    assert starts == set(range(-5, 1))


def test_at_half_overhang_every_voxel_is_equally_often_the_centre():
    options = {"foreground": np.empty((0, 3), np.int16), "probability": 0.0, "overhang": 0.5}
    starts = [
        random_window(np.random.default_rng(i), (10, 10, 10), (5, 5, 5), **options)
        for i in range(3000)
    ]
    centres = np.bincount(np.array(starts)[:, 1] + 2, minlength=10)
    assert len(centres) == 10
    assert centres.min() > 220
    assert centres.max() < 380


def test_scaling_by_hand():
    hu = np.array([-3000, -1000, -650, 400, 3000], np.int16)
    scaled = scale_hu(hu, (-1000, 400))
    np.testing.assert_allclose(scaled, [0, 0, 0.25, 1, 1])
    assert scaled.dtype == np.float32
    with pytest.raises(ValueError, match="low to high"):
        scale_hu(hu, (400, -1000))
