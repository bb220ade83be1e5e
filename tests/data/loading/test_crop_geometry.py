from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from semilung.data.data_config import AugmentConfig
from semilung.data.loading.augment import Views
from semilung.data.loading.crop_geometry import Geometry, random_geometry

WINDOW = (-1000.0, 400.0)


def draws(config, size=(8, 8, 8), spacing_mm=(1.0, 1.0, 1.0), count=200):
    return [
        random_geometry(np.random.default_rng(i), config, size, spacing_mm) for i in range(count)
    ]


def test_random_geometry_reaches_all_48_poses_and_only_moves_voxels():
    data = np.arange(512).reshape(8, 8, 8)
    config = AugmentConfig(affine_probability=0.0)
    poses = {geometry(data, order=1).tobytes() for geometry in draws(config, count=600)}
    assert len(poses) == 48
    assert all(sorted(np.frombuffer(p, data.dtype)) == list(range(512)) for p in poses)


def test_random_geometry_flips_are_equally_likely():
    config = AugmentConfig(quarter_turns=False, affine_probability=0.0)
    counts = Counter(geometry.flips for geometry in draws(config, count=800))
    # 100 of each of 8 are expected, with a standard deviation of 9.4
    assert len(counts) == 8
    assert 60 < min(counts.values()) <= max(counts.values()) < 140


def test_random_geometry_switched_off_is_identity():
    config = AugmentConfig(flips=False, quarter_turns=False, affine_probability=0.0)
    data = np.arange(512).reshape(8, 8, 8)
    for geometry in draws(config, count=5):
        np.testing.assert_array_equal(geometry(data, order=1), data)


@pytest.mark.parametrize(
    ("size", "spacing_mm", "planes"),
    [
        ((8, 8, 8), (1.0, 1.0, 1.0), {(0, 1), (0, 2), (1, 2)}),
        ((8, 8, 6), (1.0, 1.0, 1.0), {(0, 1)}),
        ((8, 8, 8), (0.7, 0.7, 2.5), {(0, 1)}),
    ],
)
def test_random_geometry_turns_square_planes_only(size, spacing_mm, planes):
    for geometry in draws(AugmentConfig(), size, spacing_mm, 20):
        assert {(a, b) for _, a, b in geometry.turns} == planes


def test_random_geometry_affines_have_the_given_probability():
    count = sum(g.matrix is not None for g in draws(AugmentConfig(affine_probability=0.25)))
    assert 30 <= count <= 70


def test_geometry_zoom_enlarges_a_ball_about_its_centre():
    config = AugmentConfig(
        flips=False,
        quarter_turns=False,
        affine_probability=1.0,
        rotation_degrees=0.0,
        scale=(1.25, 1.25),
    )
    (geometry,) = draws(config, (31, 31, 31), count=1)
    assert geometry.margin == (0, 0, 0)
    grid = np.stack(np.meshgrid(*[np.arange(31) - 15] * 3, indexing="ij"), -1)
    ball = (np.linalg.norm(grid, axis=-1) <= 8).astype(np.float32)
    out = geometry(ball, order=1) > 0.5
    assert out.sum() == pytest.approx(ball.sum() * 1.25**3, rel=0.05)
    np.testing.assert_allclose(np.argwhere(out).mean(axis=0), [15, 15, 15], atol=0.1)


def test_geometry_margin_is_just_enough_for_shrinking():
    config = AugmentConfig(affine_probability=1.0, rotation_degrees=0.0, scale=(0.8, 0.8))
    (geometry,) = draws(config, (17, 17, 17), count=1)
    # Half the crop is 8 voxels; at 0.8 it shows 10.
    assert geometry.margin == (2, 2, 2)
    marked = np.zeros((21, 21, 21), np.uint8)
    marked[0, 0, 0] = marked[-1, -1, -1] = 1
    assert geometry(marked, order=0).sum() == 2


def test_geometry_rotation_acts_in_millimetres():
    # A quarter turn about x maps 4 voxels of 1 mm in y onto 2 voxels of 2 mm in z.
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
    spacing = np.array([1, 1, 2.0])
    geometry = Geometry((9, 9, 9), matrix=turn * spacing[None] / spacing[:, None])
    data = np.zeros((9, 9, 9), np.uint8)
    data[4, 8, 4] = 1
    padded = np.pad(data, [(m, m) for m in geometry.margin])
    found = np.argwhere(geometry(padded, order=0))
    # The voxel was 2 mm tall, so it becomes two voxels of 1 mm wide.
    assert {(int(x), int(z)) for x, _, z in found} == {(4, 2)}
    assert len(found) == 2
    assert [4, 4, 2] in found.tolist()


def test_matrices_of_random_rotations_are_rotations_in_millimetres():
    config = AugmentConfig(affine_probability=1.0, scale=(1.0, 1.0))
    spacing = np.array([0.7, 0.7, 2.5])
    for geometry in draws(config, spacing_mm=tuple(spacing), count=10):
        in_mm = geometry.matrix * spacing[:, None] / spacing[None]
        np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-9)
        assert np.rad2deg(np.arccos((np.trace(in_mm) - 1) / 2)) <= 15 + 1e-6


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_views_are_pure_and_in_range_and_do_not_change_the_crop(view):
    crop = np.random.default_rng(0).random((12, 12, 12), np.float32)
    before = crop.copy()
    views = Views(AugmentConfig(strong_probability=1.0), window_hu=WINDOW, size=(12, 12, 12))
    first = views.make(view, crop, seed=1)
    views.make(view, crop, seed=2)
    again = views.make(view, crop, seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, views.make(view, crop, seed=2))
    np.testing.assert_array_equal(crop, before)
    assert type(first) is torch.Tensor
    assert first.shape == (1, 12, 12, 12)
    assert first.min() >= 0
    assert first.max() <= 1


def test_occlusion_alone_does_not_write_into_the_crop():
    # With chance one half, some seeds occlude and do nothing before it that would copy the crop.
    crop = np.random.default_rng(0).random((12, 12, 12), np.float32)
    before = crop.copy()
    views = Views(AugmentConfig(), window_hu=WINDOW, size=(12, 12, 12))
    for seed in range(100):
        views.make("strong", crop, seed=seed)
    np.testing.assert_array_equal(crop, before)


def test_views_magnitudes_are_in_hu():
    # A shift of at most 140 HU is a tenth of this window of 1400 HU.
    off = {"weak_contrast": 0.0, "weak_noise_hu": 0.0}
    crop = np.full((4, 4, 4), 0.5, np.float32)
    views = Views(AugmentConfig(weak_shift_hu=140.0, **off), window_hu=WINDOW, size=(4, 4, 4))
    shifts = np.array([views.make("weak", crop, seed=i).mean().item() - 0.5 for i in range(200)])
    assert np.abs(shifts).max() == pytest.approx(0.1, abs=0.005)
    quiet = Views(AugmentConfig(weak_shift_hu=0.0, **off), window_hu=WINDOW, size=(4, 4, 4))
    np.testing.assert_allclose(quiet.make("weak", crop, seed=0)[0], crop)


def test_views_are_aligned():
    # A bright voxel stays the brightest under weak and strong views without occlusion.
    crop = np.full((15, 15, 15), 0.2, np.float32)
    crop[3, 9, 11] = 0.9
    config = AugmentConfig(strong_probability=1.0, cutout_holes=0, strong_noise_hu=10.0)
    views = Views(config, window_hu=WINDOW, size=(15, 15, 15))
    for view in ("weak", "strong"):
        for seed in range(10):
            made = views.make(view, crop, seed=seed)[0].numpy()
            assert np.unravel_index(made.argmax(), made.shape) == (3, 9, 11)


def test_random_geometry_zooms_a_nodule_to_a_drawn_diameter_within_the_scale():
    config = AugmentConfig(affine_probability=1.0, scale=(0.5, 2.0), nodule_mm=(5.0, 30.0))

    def zooms(diameter_mm):
        drawn = (np.random.default_rng(i) for i in range(400))
        return np.array(
            [
                random_geometry(rng, config, (8,) * 3, (1.0,) * 3, diameter_mm=diameter_mm).zoom
                for rng in drawn
            ]
        )

    sizes_mm = 12 * zooms(12.0)
    assert 6 <= sizes_mm.min() < 6.5  # not 5: the scale ends at a half
    assert 23 < sizes_mm.max() <= 24
    assert np.median(sizes_mm) == pytest.approx(np.sqrt(5 * 30), rel=0.1)  # log-uniform
    assert zooms(30.0).max() <= 1
    assert zooms(5.0).min() >= 1
    assert np.median(zooms(None)) == pytest.approx(1, abs=0.1)  # the factor itself


def test_random_geometry_zoom_is_that_of_the_matrix():
    config = AugmentConfig(affine_probability=1.0, rotation_degrees=0.0, scale=(2.0, 2.0))
    geometry = draws(config, count=1)[0]
    assert geometry.zoom == pytest.approx(2)
    np.testing.assert_allclose(geometry.matrix, np.eye(3) / 2)


QUIET = AugmentConfig(
    strong_shift_hu=0.0,
    strong_contrast=0.0,
    strong_gamma=(1.0, 1.0),
    strong_noise_hu=0.0,
    strong_blur_voxels=(1e-3, 1e-3),
    cutout_holes=0,
)
"""A strong view that changes nothing."""


@pytest.mark.parametrize(
    "change",
    [
        {"strong_shift_hu": 80.0},
        {"strong_contrast": 0.2},
        {"strong_gamma": (1.2, 1.5)},
        {"strong_noise_hu": 50.0},
        {"strong_blur_voxels": (0.5, 1.0)},
        {"cutout_holes": 3},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize(("probability", "low", "high"), [(0, 0, 0), (0.5, 10, 30), (1, 40, 40)])
def test_views_each_strong_change_has_the_given_probability(change, probability, low, high):
    crop = np.random.default_rng(0).uniform(0.3, 0.6, (8, 8, 8)).astype(np.float32)
    config = replace(QUIET, strong_probability=float(probability), **change)
    views = Views(config, window_hu=WINDOW, size=crop.shape)
    made = [views.make("strong", crop, seed=seed)[0].numpy() for seed in range(40)]
    assert low <= sum(not np.allclose(view, crop, atol=1e-5) for view in made) <= high


def test_occluded_boxes_have_every_edge_from_half_the_largest_on():
    crop = np.random.default_rng(0).uniform(0.3, 0.6, (12, 12, 12)).astype(np.float32)
    config = replace(QUIET, strong_probability=1.0, cutout_holes=1, cutout_share=0.5)
    views = Views(config, window_hu=WINDOW, size=crop.shape)
    edges = set()
    for seed in range(60):
        change = np.abs(views.make("strong", crop, seed=seed)[0].numpy() - crop)
        edges |= set((np.ptp(np.argwhere(change > 1e-4), axis=0) + 1).tolist())
    assert edges == {3, 4, 5, 6}


@pytest.mark.parametrize(
    ("size", "spacing_mm"), [((24, 24, 24), (1, 1, 1)), ((24, 24, 20), (1, 1, 2))]
)
@pytest.mark.parametrize("affine_probability", [0.0, 1.0])
def test_points_follow_the_voxels_through_every_geometry(size, spacing_mm, affine_probability):
    config = AugmentConfig(affine_probability=affine_probability, scale=(0.8, 1.25))
    for seed, geometry in enumerate(draws(config, size, spacing_mm, count=40)):
        read = np.add(size, np.multiply(2, geometry.margin))
        centre = (read - 1) / 2 + np.random.default_rng(seed).uniform(-4, 4, 3)
        offsets = np.indices(tuple(read)).T - centre
        blob = np.exp(-0.5 * (offsets**2).sum(-1).T / 1.5**2)
        moved = geometry(blob, order=1)
        expected = [(np.indices(size)[axis] * moved).sum() / moved.sum() for axis in range(3)]
        np.testing.assert_allclose(geometry.points(centre[None])[0], expected, atol=0.1)
