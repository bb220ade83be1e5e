from __future__ import annotations

import os
from importlib import util

import numpy as np
import pandas as pd
import pytest
from small_cohort import write_table

from semilung.cli import main
from semilung.data.anatomy import ANATOMY, add_anatomy, label_anatomy
from semilung.data.anatomy.bone import find_bone
from semilung.data.anatomy.morphology import closed, eroded, filled_slices
from semilung.data.anatomy.vessels import compactness
from semilung.data.check import check_manifest
from semilung.data.phantom import draw_scan
from semilung.data.volume import Volume, read_volume, write_volume
from semilung.types import UserError

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
def test_classes_of_the_phantom(scan, found, name, least):
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


def parenchyma(shape=(51, 51, 51)):
    return np.random.default_rng(0).normal(-850, 40, shape).astype(np.float32)


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
    hu[20:30, 30:40, 2:5] = -990
    hu[45:55, 10:18] = 700
    hu[47:53, 12:16] = 200
    hu[44:56, 48:60, 10:40] = 300
    return hu + np.random.default_rng(0).normal(0, 15, hu.shape).astype(np.float32)


def test_parts_of_a_chest():
    labels = label_anatomy(Volume(chest(), np.diag([3.0, 3, 3, 1])))
    assert (labels[48:52, 39:43, 22:] == AIRWAY).all()
    assert (labels[13:41, 21:59, 9:41] == LUNG).mean() > 0.99
    assert (labels[21:29, 31:39, 3] == ANATOMY["unlabelled"]).all()
    assert (labels[46:54, 11:17] == BONE).all()  # its marrow, of 200 HU, too
    assert (labels[46:54, 50:58, 12:38] == SOFT).all()  # blood is no denser at its surface
    assert (labels[:4] == OUTSIDE).all()


def test_a_scan_that_cuts_into_a_lung_keeps_it_as_lung():
    hu = chest()[16:84]
    labels = label_anatomy(Volume(hu, np.diag([3.0, 3, 3, 1])))
    lung = np.zeros(hu.shape, bool)
    lung[:25, 22:58, 10:40] = lung[44:, 22:58, 10:40] = True
    assert (labels[lung] == LUNG).mean() > 0.95
    assert not (labels[lung] == OUTSIDE).any()


def test_lungs_that_are_known_are_taken():
    hu, known = chest(), np.zeros((100, 80, 50), bool)
    known[12:42, 20:60, 8:42] = True
    labels = label_anatomy(Volume(hu, np.diag([3.0, 3, 3, 1])), lungs=known)
    assert (labels[13:41, 21:59, 9:41] == LUNG).mean() > 0.99
    assert not (labels[50:] == LUNG).any()


def test_specks_are_no_bone():
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


# -- the manifest


@pytest.fixture
def cohort(tmp_path):
    """Cubes of parenchyma: one with anatomy of its own, two without; in a folder of their own."""
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = 5, 6, -70
    rows = []
    for number in range(3):
        name = f"case {number}"
        hu = parenchyma((20, 21, 22)).astype(np.int16)
        hu[:, 15:] = 40
        write_volume(tmp_path / "ct" / f"{name}.nii.gz", hu, affine)
        row = {"case": name, "patient": f"p{number}", "image": f"ct/{name}.nii.gz"}
        rows.append(row | {"role": "healthy", "rating": f"0{number}", "cohort": "NA"})
    write_volume(tmp_path / "own.nii.gz", np.full((20, 21, 22), 4, np.uint8), affine)
    rows[1]["anatomy"] = "own.nii.gz"
    columns = ["case", "patient", "image", "rating", "anatomy", "role", "cohort"]
    return write_table(tmp_path / "lungs.csv", rows, columns)


def text(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_the_command_fills_the_column_and_keeps_the_rest(cohort, capsys):
    with pytest.raises(SystemExit) as left:
        main(["data", "anatomy", str(cohort)])
    assert left.value.code == 0
    written = cohort.with_name("lungs_anatomy.csv")
    assert f"2 cases labelled; manifest: {written}" in capsys.readouterr().out
    before, after = text(cohort), text(written)
    assert after["anatomy"].tolist() == [
        "anatomy/case 0.nii.gz",
        "own.nii.gz",
        "anatomy/case 2.nii.gz",
    ]
    assert list(after.columns) == list(before.columns)
    pd.testing.assert_frame_equal(after.drop(columns="anatomy"), before.drop(columns="anatomy"))
    assert check_manifest(written) == []
    image, labels = (read_volume(cohort.parent / f / "case 0.nii.gz") for f in ("ct", "anatomy"))
    np.testing.assert_array_equal(labels.affine, image.affine)
    assert labels.data.dtype == np.uint8
    assert (labels.data[:, :14] == LUNG).all()
    assert (labels.data[:, 16:] == SOFT).all()


def test_in_processes_the_same_as_in_one(cohort):
    out = cohort.parent / "elsewhere" / "a", cohort.parent / "elsewhere" / "b"
    for folder, processes in zip(out, (0, 2), strict=True):
        outcome = add_anatomy(cohort, out=folder, progress=False, processes=processes)
        assert text(outcome.manifest)["anatomy"][0] == f"elsewhere/{folder.name}/case 0.nii.gz"
    for name in ("case 0.nii.gz", "case 2.nii.gz"):
        assert (out[0] / name).read_bytes() == (out[1] / name).read_bytes()


def test_what_is_there_is_not_made_again(cohort):
    add_anatomy(cohort, progress=False, processes=0)
    first = times(cohort.parent / "anatomy")
    (cohort.parent / "anatomy" / "case 2.nii.gz").unlink()
    outcome = add_anatomy(cohort, progress=False, processes=0)
    again = times(cohort.parent / "anatomy")
    assert outcome.written == 1
    assert set(again) == set(first)
    assert again["case 0.nii.gz"] == first["case 0.nii.gz"]


@pytest.mark.parametrize("change", ["newer image", "other grid"])
def test_what_no_longer_fits_its_image_is_made_again(cohort, change):
    add_anatomy(cohort, progress=False, processes=0)
    image, target = (cohort.parent / f / "case 0.nii.gz" for f in ("ct", "anatomy"))
    if change == "newer image":
        os.utime(image, ns=(0, target.stat().st_mtime_ns + 10**9))
    else:
        volume = read_volume(image)
        write_volume(image, volume.data[:-2], volume.affine)
        os.utime(image, ns=(0, 0))
    assert add_anatomy(cohort, progress=False, processes=0).written == 1
    assert read_volume(target).shape == read_volume(image).shape


def test_overwrite_makes_all_anew_and_leaves_the_users_own_alone(cohort):
    add_anatomy(cohort, progress=False, processes=0)
    own = (cohort.parent / "own.nii.gz").read_bytes()
    outcome = add_anatomy(cohort, overwrite=True, progress=False, processes=0)
    assert outcome.written == 3
    assert text(outcome.manifest)["anatomy"][1] == "anatomy/case 1.nii.gz"
    assert (cohort.parent / "own.nii.gz").read_bytes() == own


def test_a_file_that_the_manifest_names_is_never_written_over(cohort):
    add_anatomy(cohort, progress=False, processes=0)
    named, images = cohort.with_name("lungs_anatomy.csv"), cohort.parent / "ct"
    before = times(cohort.parent / "anatomy"), times(images)
    with pytest.raises(UserError, match=r"case 0.*named in the manifest.*--out"):
        add_anatomy(named, overwrite=True, progress=False, processes=0)
    with pytest.raises(UserError, match=r"case 0.*named in the manifest.*--out"):
        add_anatomy(cohort, out=images, progress=False, processes=0)
    assert (times(cohort.parent / "anatomy"), times(images)) == before


def test_a_bad_case_is_told_at_the_end_and_stops_no_other(cohort, capsys):
    image = cohort.parent / "ct" / "case 0.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(SystemExit) as left:
        main(["data", "anatomy", str(cohort)])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert "1 cases cannot be labelled" in told
    assert "case 0: " in told
    assert "truncated or damaged" in told
    anatomy = text(cohort.with_name("lungs_anatomy.csv"))["anatomy"].tolist()
    assert anatomy == ["", "own.nii.gz", "anatomy/case 2.nii.gz"]


def test_intensities_that_are_no_hu_are_refused(cohort):
    image = cohort.parent / "ct" / "case 2.nii.gz"
    volume = read_volume(image)
    write_volume(image, volume.data + 1024, volume.affine)
    outcome = add_anatomy(cohort, progress=False, processes=0)
    assert len(outcome.failures) == 1
    assert "case 2" in outcome.failures[0]
    assert "not HU" in outcome.failures[0]


def test_lungmask_that_is_absent_is_asked_for(cohort, capsys, monkeypatch):
    monkeypatch.setattr(
        "semilung.data.anatomy.lungmask_lungs.find_spec",
        lambda name: None if name == "lungmask" else util.find_spec(name),
    )
    with pytest.raises(SystemExit) as left:
        main(["data", "anatomy", str(cohort), "--lungs", "lungmask"])
    assert left.value.code == 2
    assert "pip install 'semilung[lungs]'" in capsys.readouterr().err
    assert not (cohort.parent / "anatomy").exists()


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
