from __future__ import annotations

import numpy as np
import pytest
from small_cohort import parenchyma

from semilung.data.anatomy import ANATOMY, label_anatomy
from semilung.data.anatomy.bone import find_bone
from semilung.data.anatomy.lung_region import aerated_lungs, closed_region
from semilung.data.anatomy.morphology import closed, eroded, filled_slices
from semilung.data.anatomy.vessel_mask import compactness, find_vessels
from semilung.data.io.volume import Volume, read_volume
from semilung.data.phantom import draw_scan

LUNG, AIRWAY, VESSEL, BONE, SOFT, OUTSIDE = (
    ANATOMY[name] for name in ("lung", "airway", "vessel", "bone", "soft_tissue", "outside_air")
)
SPACING_MM = 3.0


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def ball(shape, centre, radius_mm, spacing_mm=1.0):
    grid = np.indices(shape).T - np.array(centre)
    return (np.linalg.norm(grid * spacing_mm, axis=-1) <= radius_mm).T


@pytest.fixture(scope="module")
def scan():
    return draw_scan(0, diseased=True, size=64, spacing_mm=SPACING_MM)


@pytest.fixture(scope="module")
def found(scan):
    return label_anatomy(Volume(scan.image, np.diag([SPACING_MM] * 3 + [1.0])))


@pytest.mark.parametrize(
    ("name", "least"),
    [("lung", 0.97), ("airway", 0.7), ("bone", 0.75), ("soft_tissue", 0.92), ("outside_air", 0.98)],
)
def test_label_anatomy_agrees_with_the_phantom(scan, found, name, least):
    assert dice(found == ANATOMY[name], scan.anatomy == ANATOMY[name]) > least


def test_vessels_of_the_phantom_within_its_lungs(scan, found):
    # Those of the mediastinum, without contrast, look like all that surrounds them.
    lungs = np.isin(scan.anatomy, [LUNG, VESSEL]) & np.isin(found, [LUNG, VESSEL])
    assert dice((found == VESSEL) & lungs, (scan.anatomy == VESSEL) & lungs) > 0.75


def test_nodules_of_the_phantom_are_in_the_lung(scan, found):
    share = np.isin(found[scan.mask > 0], [LUNG, VESSEL]).mean()
    assert share > 0.8
    assert not np.isin(found[scan.mask > 0], [BONE, OUTSIDE, AIRWAY]).any()


@pytest.mark.parametrize("order", ["LPS", "flipped and permuted"])
def test_labels_follow_the_volumes_axes(scan, found, order):
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    if order == "LPS":
        turned, back = scan.image[::-1, ::-1], found[::-1, ::-1]
        affine = affine @ np.diag([-1, -1, 1, 1])
    else:
        turned, back = np.moveaxis(scan.image[..., ::-1], 2, 0), np.moveaxis(found[..., ::-1], 2, 0)
        affine = affine[:, [2, 0, 1, 3]] @ np.diag([-1, 1, 1, 1])
    labels = label_anatomy(Volume(np.ascontiguousarray(turned), affine))
    assert labels.shape == turned.shape
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, back)


def test_finer_grids_get_labels_on_every_voxel(scan):
    fine = np.repeat(np.repeat(scan.image[:, :, 20:50], 5, axis=0)[:318], 5, axis=1)[:, :317]
    labels = label_anatomy(Volume(fine, np.diag([0.6, 0.6, 3.0, 1.0])))
    assert labels.shape == fine.shape
    assert (labels[[0, -1]] == OUTSIDE).all()
    assert (labels[:, [0, -1]] == OUTSIDE).all()


def test_a_cube_of_parenchyma_is_lung():
    labels = label_anatomy(Volume(parenchyma(), np.eye(4)))
    assert (labels == LUNG).all()


def test_a_dark_cube_of_emphysema_is_not_outside_air():
    labels = label_anatomy(Volume(parenchyma() - 60, np.eye(4)))
    assert (labels == LUNG).all()


def test_a_cube_with_a_wall_a_vessel_and_nodules():
    hu = parenchyma()
    hu[:, 40:] = 40
    hu[10:14, :, 10:14] = 30  # a vessel that ends in the wall
    alone, on_vessel, at_wall = (
        ball(hu.shape, c, 5.0) for c in ((35, 15, 35), (12, 20, 12), (35, 38, 12))
    )
    for nodule in (alone, on_vessel, at_wall):
        hu[nodule] = 50
    labels = label_anatomy(Volume(hu, np.eye(4)))
    assert (labels[alone] == LUNG).all()
    assert (labels[on_vessel] == LUNG).mean() > 0.9
    # A ball of the closing's radius dips a millimetre into the nodule's base.
    assert (labels[at_wall & (np.arange(51) < 38)[None, :, None]] == LUNG).all()
    assert (labels[10:14, 30:36, 10:14] == VESSEL).mean() > 0.9
    assert (labels[:, 44:] == SOFT).all()
    assert not np.isin(labels, [BONE, OUTSIDE, AIRWAY]).any()


def test_gas_beyond_the_wall_of_a_cube_stays_unlabelled():
    hu = parenchyma()
    hu[:, 20:30] = 40
    hu[:, 30:] = -1000
    labels = label_anatomy(Volume(hu, np.eye(4)))
    assert (labels[:, :20] == LUNG).all()
    assert (labels[:, 30:] == ANATOMY["unlabelled"]).all()


def chest():
    """300 x 240 x 150 mm at 3 mm: two lungs, a trachea, gas in the bowel, bone and blood."""
    hu = np.full((100, 80, 50), -1000, np.float32)
    hu[5:95, 8:72] = 40
    hu[12:42, 20:60, 8:42] = -850
    hu[58:88, 20:60, 8:42] = -850
    hu[47:53, 38:44, 20:] = -990
    hu[44:56, 22:36, 2:16] = -990  # more than a twentieth of a lung
    hu[45:55, 10:18] = 700
    hu[47:53, 12:16] = 200
    hu[44:56, 48:60, 10:40] = 300
    return hu + np.random.default_rng(0).normal(0, 15, hu.shape).astype(np.float32)


def test_parts_of_a_chest():
    labels = label_anatomy(Volume(chest(), np.diag([3.0, 3, 3, 1])))
    assert (labels[48:52, 39:43, 22:] == AIRWAY).all()
    assert (labels[13:41, 21:59, 9:41] == LUNG).mean() > 0.99
    assert (labels[45:55, 23:35, 3:15] == ANATOMY["unlabelled"]).all()
    assert (labels[46:54, 11:17] == BONE).all()  # its marrow, of 200 HU, too
    assert (labels[46:54, 50:58, 12:38] == SOFT).all()  # blood is no denser at its surface
    assert (labels[:4] == OUTSIDE).all()


def test_an_airway_that_opens_into_a_dark_lung_does_not_leak_into_it():
    hu = chest()
    for side in (slice(12, 42), slice(58, 88)):
        hu[side, 20:60, 8:42] -= 50
    hu[41:48, 39:42, 25:28] = -990
    labels = label_anatomy(Volume(hu, np.diag([3.0, 3, 3, 1])))
    assert (labels[48:52, 39:43, 30:] == AIRWAY).all()
    assert (labels[14:38, 22:58, 10:40] == LUNG).mean() > 0.97


def test_the_working_grid_covers_the_scan_to_its_last_voxel():
    # 62 x 0.7 mm = 43.4 mm: 43 voxels of 1 mm would leave the last ones without a label.
    labels = label_anatomy(Volume(parenchyma((62, 62, 62)), np.diag([0.7, 0.7, 0.7, 1.0])))
    assert (labels == LUNG).all()


def test_a_scan_that_cuts_into_a_lung_keeps_it_as_lung():
    hu = chest()[16:84]
    labels = label_anatomy(Volume(hu, np.diag([3.0, 3, 3, 1])))
    lung = np.zeros(hu.shape, bool)
    lung[:25, 22:58, 10:40] = lung[44:, 22:58, 10:40] = True
    assert (labels[lung] == LUNG).mean() > 0.95
    assert not (labels[lung] == OUTSIDE).any()


@pytest.mark.parametrize(("hu", "label"), [(40, SOFT), (-1000, OUTSIDE), (-850, LUNG)])
def test_a_large_volume_of_one_tissue_is_of_that_class_to_its_corners(hu, label):
    noise = np.random.default_rng(0).normal(hu, 20, (40, 40, 20))
    assert (label_anatomy(Volume(noise, np.diag([3.0, 3, 3, 1]))) == label).all()


@pytest.mark.parametrize("shape", [(1, 40, 40), (100, 100, 1), (1, 1, 1)])
@pytest.mark.parametrize("hu", [-1000, -850, 40, 500])
def test_label_anatomy_flat_volume_has_labels(shape, hu):
    assert label_anatomy(Volume(np.full(shape, hu), np.diag([3.0, 3, 3, 1]))).shape == shape


def test_label_anatomy_uses_the_given_lungs():
    hu, known = chest(), np.zeros((100, 80, 50), bool)
    known[12:42, 20:60, 8:42] = True
    labels = label_anatomy(Volume(hu, np.diag([3.0, 3, 3, 1])), lungs=known)
    assert (labels[13:41, 21:59, 9:41] == LUNG).mean() > 0.99
    assert not (labels[50:] == LUNG).any()


def region_of(lung):
    return closed_region([lung], lung.shape, (1.0, 1.0, 1.0))


def lung_block():
    lung = np.zeros((60, 60, 60), bool)
    lung[5:55, 5:55, 10:55] = True
    return lung


def test_a_lung_is_closed_over_nodules_and_vessels_but_not_over_a_dome_or_a_film():
    lung, whole = lung_block(), lung_block()
    lung[20:24, 20:24, 10:40] = False  # a vessel that leaves through the base
    lung[ball(lung.shape, (40, 40, 40), 8.0)] = False
    lung[5:11, 28:36, 28:36] = False  # a nodule at the wall
    # A ball of the closing's radius dips into the base of the nodule at the wall.
    assert not (region_of(lung) ^ whole)[7:].any()
    dome = ball(lung.shape, (30, 30, 0), 24.0)
    lung = lung_block() & ~dome
    assert region_of(lung)[dome].mean() < 0.02
    film = lung_block()
    film[5:7, 20:40, 20:40] = False
    np.testing.assert_array_equal(region_of(film), film)


def test_a_hole_as_large_as_a_heart_stays():
    heart = ball((60, 60, 60), (30, 30, 32), 21.5)
    assert not region_of(lung_block() & ~heart)[ball((60, 60, 60), (30, 30, 32), 17.0)].any()


def test_aerated_lungs_touching_lungs_are_separated():
    air = np.zeros((60, 30, 30), bool)
    air[2:28, 2:28, 2:28] = air[32:58, 2:28, 2:28] = True
    air[28:32, 13:15, 13:15] = True
    lungs = aerated_lungs(np.full(air.shape, -850.0), air, (1.0, 1.0, 1.0))
    assert len(lungs) == 2
    assert sorted(lung[:28].sum() for lung in lungs)[0] == 0
    np.testing.assert_array_equal(lungs[0] ^ lungs[1], air)


def test_a_faint_vessel_counts_on_a_coarse_grid_and_away_from_the_wall():
    hu, region = np.full((20, 20, 20), -850.0), np.zeros((20, 20, 20), bool)
    region[2:18, 2:18, 2:18] = True
    deep, wall = np.zeros_like(region), np.zeros_like(region)
    deep[3:17, 10, 10] = wall[3:17, 2, 5] = True
    hu[deep] = hu[wall] = -450
    assert not find_vessels(hu, region, (1.0, 1.0, 1.0)).any()
    found = find_vessels(hu, region, (3.0, 3.0, 3.0))
    np.testing.assert_array_equal(found, deep)
    hu[wall] = 0
    assert not find_vessels(hu, region, (3.0, 3.0, 3.0))[wall].any()


def test_find_bone_ignores_specks():
    hu = np.full((20, 20, 20), 40.0)
    hu[4:6, 4:6, 4:6] = 600
    hu[10:16, 10:16, 10:16] = 600
    body, lung = np.ones(hu.shape, bool), np.zeros(hu.shape, bool)
    bone = find_bone(hu, body, lung, (1.0, 1.0, 1.0), smallest_mm3=100)
    assert (bone == (hu > 0) & (np.indices(hu.shape).min(axis=0) >= 10) & (hu == 600)).all()


def test_compactness_of_a_ball_and_of_a_rod():
    labels = np.zeros((40, 40, 20), np.int32)
    labels[ball(labels.shape, (10, 10, 10), 16.0, 2.0)] = 1
    labels[20:23, 2:38, 2:5] = 2
    sizes = np.bincount(labels.ravel())
    round_, long_ = compactness(labels, sizes, (2.0, 2.0, 2.0))[1:]
    assert round_ == pytest.approx(1.0, abs=0.03)
    # V = 9 * 36, variances 36^2 / 12 and 3^2 / 12 twice, in voxels.
    assert long_ == pytest.approx(324 / (4 / 3 * np.pi * (5 * 109.5 / 3) ** 1.5))


def test_closing_reaches_over_gaps_at_the_grids_edge_in_millimetres():
    mask = np.ones((20, 20, 6), bool)
    mask[8:12] = False  # 4 mm wide
    assert closed(mask, 3.0, (1.0, 1.0, 3.0)).all()
    np.testing.assert_array_equal(closed(mask, 1.5, (1.0, 1.0, 3.0)), mask)
    assert not eroded(mask, 4.0, (1.0, 1.0, 3.0))[4:16].any()
    assert eroded(mask, 4.0, (1.0, 1.0, 3.0))[[0, -1]].all()


def test_holes_are_those_of_an_axial_slice():
    mask = np.zeros((7, 7, 3), bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    filled = filled_slices(mask)
    assert filled[3, 3].all()
    assert filled.sum() == 75


# -- real CT


def test_a_real_chest_at_4_mm(real_data):
    found = label_anatomy(read_volume(real_data / "anatomy" / "chest_ct.nii.gz"))
    true = read_volume(real_data / "anatomy" / "chest_labels.nii.gz").data
    # Its vessels are marked far below any threshold (median -803 HU): lung and vessel go together.
    assert dice(np.isin(found, [LUNG, VESSEL]), np.isin(true, [LUNG, VESSEL])) > 0.97
    assert dice(found == AIRWAY, true == AIRWAY) > 0.75


@pytest.mark.parametrize("folder", ["nodule_cubes", "healthy_cubes", "background_cubes"])
def test_real_cubes_hold_no_outside_air_and_nodules_lie_in_the_lung(real_data, folder):
    for path in sorted((real_data / folder).glob("*_ct.nii.gz"))[::20]:
        volume = read_volume(path)
        labels = label_anatomy(volume)
        assert not (labels == OUTSIDE).any()
        inflated = (volume.data > -900) & (volume.data < -750)
        assert (labels[inflated] == LUNG).mean() > 0.97
        mask = path.with_name(path.name.replace("_ct", "_mask"))
        if mask.exists():
            nodule = labels[read_volume(mask).data > 0]
            assert np.isin(nodule, [LUNG, VESSEL]).mean() > 0.75
            assert not (nodule == BONE).any()


@pytest.mark.slow
def test_nodules_of_a_real_scan_lie_in_the_lung(real_data):
    labels = label_anatomy(read_volume(real_data / "scans" / "lidc_0132_ct.nii.gz"))
    nodules = read_volume(real_data / "scans" / "lidc_0132_nodules.nii.gz").data
    assert np.isin(labels[nodules > 0], [LUNG, VESSEL]).mean() > 0.98
    assert not np.isin(labels[nodules > 0], [BONE, OUTSIDE, AIRWAY]).any()
    assert (labels == AIRWAY).sum() > 20_000
