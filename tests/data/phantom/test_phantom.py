from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from semilung.data.phantom import ANATOMY, draw_scan, sample_diameters_mm
from semilung.data.phantom.canvas import CubeGrid, sheet_occupancy, surface_distance
from semilung.data.phantom.great_vessels import paint_trees
from semilung.data.phantom.nodules import Finding, Nodule, draw_findings, paint_nodules
from semilung.data.phantom.organs import Build, Organs
from semilung.data.phantom.placement import place_nodules
from semilung.data.phantom.shapes import Shape, shape_occupancy
from semilung.data.phantom.texture import Scanner
from semilung.data.phantom.torso import build_chest
from semilung.data.phantom.trees import Stem, Tube, grow_tree, tube_occupancy

SMALL = {"size": 40, "spacing_mm": 4.0}


@pytest.fixture(scope="module")
def scan():
    return draw_scan(0, diseased=True, seed=3)


def test_a_scan_is_a_function_of_its_seed_and_index() -> None:
    first = draw_scan(2, diseased=True, seed=7, **SMALL)
    again = draw_scan(2, diseased=True, seed=7, **SMALL)
    for name in ("image", "mask", "anatomy"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    for other in (
        draw_scan(2, diseased=True, seed=8, **SMALL),
        draw_scan(3, diseased=True, seed=7, **SMALL),
    ):
        assert (other.anatomy != first.anatomy).mean() > 0.01
        assert other.image.tobytes() != first.image.tobytes()


def test_a_healthy_twin_differs_at_the_nodules_only() -> None:
    ill = draw_scan(1, diseased=True, seed=7, **SMALL)
    healthy = draw_scan(1, diseased=False, seed=7, **SMALL)
    assert healthy.nodules == []
    assert not healthy.mask.any()
    np.testing.assert_array_equal(ill.anatomy, healthy.anatomy)
    changed = ill.image != healthy.image
    near = ndimage.binary_dilation(ill.mask > 0, iterations=4)
    assert changed[ill.mask > 0].mean() > 0.9
    assert not changed[~near].any()


@pytest.mark.parametrize(
    ("tissue", "low", "high"),
    [
        ("outside_air", -1010, -985),
        ("lung", -900, -780),
        ("airway", -1010, -600),
        ("vessel", -60, 70),
        ("bone", 250, 700),
        ("soft_tissue", -20, 70),
    ],
)
def test_median_hu_of_every_tissue_is_plausible(scan, tissue, low, high) -> None:
    voxels = scan.image[scan.anatomy == ANATOMY[tissue]]
    assert voxels.size > 500
    assert low < np.median(voxels) < high


def test_the_trachea_is_air_and_the_back_of_the_lung_is_denser_than_its_front(scan) -> None:
    assert scan.image[scan.anatomy == ANATOMY["airway"]].min() < -950
    y = np.broadcast_to(CubeGrid(96, 2.0).axis[None, :, None], scan.image.shape)
    deep = ndimage.binary_erosion(scan.anatomy == ANATOMY["lung"], iterations=2)
    back, front = scan.image[deep & (y < -15)], scan.image[deep & (y > 15)]
    assert np.median(back) > np.median(front) + 8


@pytest.mark.parametrize("tissue", ["vessel", "airway"])
def test_a_tree_is_mostly_one_piece(scan, tissue) -> None:
    pieces, _ = ndimage.label(scan.anatomy == ANATOMY[tissue], np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    assert sizes.max() / sizes.sum() > 0.95


def test_the_heart_points_to_the_left_front_and_is_no_ball() -> None:
    grid = CubeGrid(64, 3.0)
    rng = np.random.default_rng(0)
    heart = np.argwhere(Organs(grid, Build.draw(rng), rng).heart() < 0) * 3.0
    spread, axes = np.linalg.eigh(np.cov((heart - heart.mean(axis=0)).T))
    x, y, z = axes[:, -1] * np.sign(axes[1, -1])
    assert math.sqrt(spread[-1] / spread[0]) > 1.25
    assert x < -0.2 < 0.2 < y
    assert z < -0.2


def test_fissures_are_thin_brighter_surfaces_within_the_lung(monkeypatch) -> None:
    grid = CubeGrid(64, 3.0)
    with_fissures = build_chest(grid, np.random.default_rng(0)).canvas
    monkeypatch.setattr("semilung.data.phantom.torso.FISSURE_MM", 0.0)
    without = build_chest(grid, np.random.default_rng(0)).canvas
    rise = with_fissures.hu - without.hu
    lung = without.anatomy == ANATOMY["lung"]
    np.testing.assert_array_equal(with_fissures.anatomy, without.anatomy)
    assert 0.02 < (rise[lung] > 20).mean() < 0.2
    assert 100 < rise.max() < 400
    for half in (slice(0, 32), slice(32, 64)):
        assert (rise[half] > 20).sum() > 300
    assert rise.min() > -0.1


@pytest.mark.parametrize(("distance", "share"), [(0.0, 0.35), (0.5, 0.175), (1.5, 0.0)])
def test_a_sheet_thinner_than_a_voxel_covers_its_share(distance, share) -> None:
    sheet = sheet_occupancy(np.array([distance], np.float32), 0.35, 1.0)
    assert sheet[0] == pytest.approx(share, abs=1e-6)


def test_two_lungs_with_trees_in_both(scan) -> None:
    # Vessels and airways are part of the lungs' envelope; the mediastinum parts it.
    sizes = [
        np.count_nonzero(scan.anatomy[half] == ANATOMY["lung"])
        for half in (slice(0, 48), slice(48, 96))
    ]
    assert min(sizes) / max(sizes) > 0.6
    assert 0.05 < sum(sizes) / scan.anatomy.size < 0.25
    for tissue in ("vessel", "airway"):
        found = np.argwhere(scan.anatomy == ANATOMY[tissue])[:, 0]
        assert found.min() < 30
        assert found.max() > 66


def test_the_body_has_air_around_it(scan) -> None:
    sides = scan.anatomy[[0, -1]], scan.anatomy[:, [0, -1]]
    assert all((side == ANATOMY["outside_air"]).all() for side in sides)


@pytest.mark.parametrize("index", range(6))
def test_nodules_lie_in_the_lungs_with_contiguous_labels(index) -> None:
    scan = draw_scan(index, diseased=True, size=64, spacing_mm=3.0)
    labels = np.unique(scan.mask[scan.mask > 0]).tolist()
    assert labels == list(range(1, len(scan.nodules) + 1))
    assert 1 <= len(labels) <= 4
    envelope = [ANATOMY[t] for t in ("lung", "airway", "vessel")]
    assert np.isin(scan.anatomy[scan.mask > 0], envelope).all()
    for label, nodule in enumerate(scan.nodules, start=1):
        volume = np.count_nonzero(scan.mask == label) * 27
        ball = math.pi / 6 * nodule.finding.diameter_mm**3
        assert 0.3 * ball < volume < 1.5 * ball


def test_sites_say_where_a_nodule_sits() -> None:
    grid = CubeGrid(64, 3.0)
    chest = build_chest(grid, np.random.default_rng(0))
    paint_trees(chest, grid, np.random.default_rng(1))
    vessels = chest.canvas.anatomy == ANATOMY["vessel"]
    to_vessel = ndimage.distance_transform_edt(~vessels, sampling=3.0)
    rng = np.random.default_rng(2)
    for site, count in (("juxtapleural", 8), ("isolated", 8), ("juxtavascular", 8)):
        findings = [Finding(10.0, "solid", site, Shape.ball()) for _ in range(count)]
        placed = place_nodules(chest, grid, findings, rng)
        assert len(placed) == count
        for nodule in placed:
            at, radius = grid.index(nodule.centre_mm), nodule.radius_mm
            depth = -chest.lung_mm[at]
            assert (depth < radius) == (site == "juxtapleural")
            assert depth > 0
            if site == "juxtavascular":
                assert abs(to_vessel[at] - 0.8 * radius) < 3
            if site == "isolated":
                assert to_vessel[at] > 0.8 * radius


def test_nodules_keep_apart_and_shrink_to_what_fits() -> None:
    grid = CubeGrid(48, 2.0)
    chest = build_chest(grid, np.random.default_rng(0))
    findings = [Finding(30.0, "solid", "isolated", Shape.ball()) for _ in range(4)]
    placed = place_nodules(chest, grid, findings, np.random.default_rng(1))
    assert all(4.0 <= n.finding.diameter_mm < 30 for n in placed)
    assert len(placed) == 4
    for a, b in itertools.combinations(placed, 2):
        assert np.linalg.norm(a.centre_mm - b.centre_mm) > a.radius_mm + b.radius_mm


def test_paint_nodules_have_the_hu_of_their_texture() -> None:
    grid, centre = CubeGrid(32, 1.0), np.zeros(3)
    lung_mm = np.full(grid.shape, -50, np.float32)
    bands = {"solid": (10, 60), "part_solid": (10, 60), "ground_glass": (-650, -500)}
    for texture, (low, high) in bands.items():
        hu = np.full(grid.shape, -850, np.float32)
        nodule = Nodule(Finding(16.0, texture, "isolated", Shape.ball()), centre)
        paint_nodules(hu, lung_mm, [nodule], grid, np.random.default_rng(0))
        assert low <= hu[16, 16, 16] <= high
        rim = hu[16, 16, 9]
        assert (rim > 0) == (texture == "solid")
        assert hu[0, 0, 0] == -850


def test_ground_glass_leaves_vessels_visible() -> None:
    grid = CubeGrid(16, 1.0)
    hu = np.full(grid.shape, -850, np.float32)
    hu[8] = 40
    nodule = Nodule(Finding(10.0, "ground_glass", "isolated", Shape.ball()), np.zeros(3))
    lung_mm = np.full(grid.shape, -50, np.float32)
    paint_nodules(hu, lung_mm, [nodule], grid, np.random.default_rng(0))
    assert (hu[8] == 40).all()
    assert hu[7, 8, 8] > -660


def test_the_mask_of_a_ball_is_exact() -> None:
    grid, centre, radius = CubeGrid(48, 1.0), np.array([0.3, -1.2, 2.1]), 9.0
    nodule = Nodule(Finding(2 * radius, "solid", "isolated", Shape.ball()), centre)
    hu, lung_mm = np.zeros(grid.shape, np.float32), np.full(grid.shape, -50, np.float32)
    mask = paint_nodules(hu, lung_mm, [nodule], grid, np.random.default_rng(0))
    distance = np.linalg.norm(grid.coordinates() - centre[:, None, None, None], axis=0)
    sure = np.abs(distance - radius) > 0.1
    np.testing.assert_array_equal(mask[sure], (distance <= radius)[sure])
    assert mask.sum() == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)


def test_a_wall_cuts_a_ball_in_half() -> None:
    grid, radius = CubeGrid(40, 1.0), 8.0
    lung_mm = np.broadcast_to(grid.axis[:, None, None], grid.shape).copy()
    nodule = Nodule(Finding(2 * radius, "solid", "juxtapleural", Shape.ball()), np.zeros(3))
    hu = np.full(grid.shape, -850, np.float32)
    mask = paint_nodules(hu, lung_mm, [nodule], grid, np.random.default_rng(0))
    assert not mask[20:].any()
    assert mask.sum() == pytest.approx(2 / 3 * math.pi * radius**3, rel=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_an_irregular_shape_keeps_the_volume_of_its_ball(seed) -> None:
    grid, radius = CubeGrid(64, 1.0), 10.0
    shape = Shape.draw(np.random.default_rng(seed))
    _, share = shape_occupancy(grid, shape, np.array([0.4, 0.1, -0.7]), radius)
    assert share.sum() == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)
    assert share[[0, -1]].max() == share[:, [0, -1]].max() == share[:, :, [0, -1]].max() == 0


def test_diameters_follow_lidc_idri() -> None:
    diameters = sample_diameters_mm(np.random.default_rng(0), 40000)
    np.testing.assert_allclose(np.percentile(diameters, [5, 50, 95]), [5, 8.5, 26], rtol=0.03)
    assert diameters.min() >= 3
    assert diameters.max() <= 30


def test_sample_diameters_mm_are_truncated_at_the_smallest() -> None:
    every = sample_diameters_mm(np.random.default_rng(0), 40000)
    large = sample_diameters_mm(np.random.default_rng(1), 40000, smallest_mm=10)
    assert 10 <= large.min() < 10.05
    np.testing.assert_allclose(
        np.percentile(large, [10, 50, 90]),
        np.percentile(every[every >= 10], [10, 50, 90]),
        rtol=0.02,
    )
    assert sample_diameters_mm(np.random.default_rng(0), 9, smallest_mm=60).tolist() == [30] * 9


def test_findings_come_largest_first_in_every_kind() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_findings(rng) for _ in range(200)]
    assert {len(findings) for findings in drawn} == {1, 2, 3, 4}
    for findings in drawn:
        diameters = [f.diameter_mm for f in findings]
        assert diameters == sorted(diameters, reverse=True)
    every = [f for findings in drawn for f in findings]
    assert len({(f.texture, f.site) for f in every}) == 9


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.5, 4.0])
def test_a_tube_covers_its_true_cross_section(radius) -> None:
    grid = CubeGrid(16, 2.0)
    tube = Tube(np.array([0.3, 0.7, -40.0]), np.array([0.3, 0.7, 40.0]), radius, radius)
    area = tube_occupancy(grid, [tube])[:, :, 8].sum() * 4
    assert area == pytest.approx(math.pi * radius**2, rel=0.12)


def test_radii_of_a_tree_follow_murray() -> None:
    cloud = np.random.default_rng(0).uniform(-1, 1, (400, 3)) * 40 + [60, 0, 0]
    tree = grow_tree(Stem(np.zeros(3), 4.0), cloud, end_radius=0.6, is_inside=lambda _: True)
    roots = [t for t in tree if not t.start.any()]
    assert sum(t.start_radius**3 for t in roots) == pytest.approx(4.0**3)
    assert min(t.end_radius for t in tree) >= 0.6
    assert len(tree) > 100
    starts = {tuple(t.start) for t in tree}
    assert starts <= {tuple(t.end) for t in tree} | {(0.0, 0.0, 0.0)}


def test_a_thick_branch_leaves_its_fork_as_its_parent_came() -> None:
    cloud = np.random.default_rng(0).uniform(-1, 1, (400, 3)) * 40 + [60, 0, 0]

    def straightness(end_radius: float) -> float:
        everywhere = {"end_radius": end_radius, "is_inside": lambda _: True}
        tree = grow_tree(Stem(np.zeros(3), 4.0), cloud, **everywhere)
        before = {tuple(t.end): t.end - t.start for t in tree}
        forks = Counter(tuple(t.start) for t in tree)
        thick = [t for t in tree if t.start_radius > 1.8 and forks[tuple(t.start)] > 1]
        thick = [t for t in thick if tuple(t.start) in before]
        pairs = [(t.end - t.start, before[tuple(t.start)]) for t in thick]
        return float(np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))

    # Branches of less than twice the smallest radius go straight to the next fork.
    assert straightness(0.6) > straightness(1.7) + 0.1


def test_forks_stay_where_they_may_be() -> None:
    cloud = np.random.default_rng(0).uniform(5, 40, (200, 3))
    cloud = cloud[np.abs(cloud[:, 1] - 22) > 8]
    tree = grow_tree(
        Stem(np.zeros(3), 3.0),
        cloud,
        end_radius=0.5,
        is_inside=lambda p: bool(abs(p[1] - 22) > 8),
    )
    assert all(abs(t.end[1] - 22) > 8 for t in tree)


def test_surface_distance_is_a_balls_true_distance() -> None:
    grid = CubeGrid(32, 1.5)
    radius = np.linalg.norm(grid.coordinates(), axis=0)
    near = np.abs(radius - 12) < 5
    distance = surface_distance(radius / np.float32(12), 1.5)
    np.testing.assert_allclose(distance[near], (radius - 12)[near], atol=0.1)


@pytest.mark.parametrize("kernel", ["smooth", "sharp"])
def test_noise_has_the_sd_and_the_grain_of_its_kernel(kernel) -> None:
    noise = Scanner(kernel, 25.0).noise((48,) * 3, 2.0, np.random.default_rng(0))
    assert noise.std() == pytest.approx(25, rel=1e-3)
    neighbours = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
    assert neighbours > 0.3 if kernel == "smooth" else neighbours < -0.03


@pytest.mark.parametrize(
    ("size", "spacing_mm"), [(32, 3.0), (36, 2.5), (50, 5.0), (32, 15.0), (90, 1.0)]
)
def test_other_sizes_keep_nodules_and_anatomy(size, spacing_mm) -> None:
    scan = draw_scan(0, diseased=True, size=size, spacing_mm=spacing_mm, seed=2)
    assert scan.image.shape == scan.mask.shape == (size,) * 3
    assert set(np.unique(scan.anatomy)) == set(ANATOMY.values()) - {ANATOMY["unlabelled"]}
    assert scan.mask.max() == len(scan.nodules) >= 1
