from __future__ import annotations

import numpy as np
import pytest
from small_cohort import COLUMNS, LPS, write_table

from semilung.data.cache.prepare import prepare
from semilung.data.content.hounsfield import intensity_issue
from semilung.data.content.voxel_checks import label_issue
from semilung.data.data_config import DataConfig
from semilung.data.io.volume import write_volume
from semilung.data.manifest.cases import read_manifest
from semilung.data.manifest.check_manifest import check_manifest, examine_manifest
from semilung.data.manifest.manifest_summary import manifest_summary

SHAPE = (6, 7, 8)
HU = np.linspace(-1000, 300, 6 * 7 * 8).reshape(SHAPE).astype(np.int16)


@pytest.fixture
def folder(tmp_path):
    write_volume(tmp_path / "ct.nii.gz", HU, LPS)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, 2, 2] = 1
    write_volume(tmp_path / "mask.nii.gz", mask, LPS)
    return tmp_path


def errors_of(folder, *rows):
    base = {"patient": "p", "image": "ct.nii.gz", "role": "labelled", "mask": "mask.nii.gz"}
    full = [{"case": f"c{i}"} | base | row for i, row in enumerate(rows)]
    return [
        (f.row, f.field, f.message) for f in check_manifest(write_table(folder / "m.csv", full))
    ]


def test_check_manifest_valid_manifest_has_no_errors(cohort_folder):
    # Its unlabelled rows name a mask that cannot be read: it is none of the check's business.
    assert check_manifest(cohort_folder / "manifest.csv") == []


def test_check_manifest_errors_of_volumes_and_table_are_listed_together(folder):
    far = LPS.copy()
    far[0, 3] = 5
    write_volume(folder / "far.nii.gz", np.zeros(SHAPE, np.uint8), far)
    write_volume(folder / "big.nii.gz", np.zeros((9, 9, 9), np.uint8), LPS)
    write_volume(folder / "soft.nii.gz", np.full(SHAPE, 0.5, np.float32), LPS)
    (folder / "cut.nii.gz").write_bytes((folder / "ct.nii.gz").read_bytes()[:-300])
    (folder / "none.nii.gz").touch()
    found = errors_of(
        folder,
        {},
        {"mask": "far.nii.gz"},
        {"mask": "big.nii.gz"},
        {"mask": "soft.nii.gz"},
        {"image": "cut.nii.gz"},
        {"image": "none.nii.gz"},
        {"image": "gone.nii.gz", "anatomy": "gone_too.nii.gz"},
        {"role": "healthy"},
        {"case": "c0"},
    )
    expected = [
        (3, "mask", "affine"),
        (4, "mask", "shape (9, 9, 9)"),
        (5, "mask", "whole numbers"),
        (6, "image", "truncated"),
        (7, "image", "empty"),
        (8, "anatomy", "no such file"),
        (8, "image", "no such file"),
        (9, "mask", "healthy"),
        (10, "case", "duplicate"),
    ]
    assert [(row, field) for row, field, _ in found] == [e[:2] for e in expected]
    for (_, _, message), (_, _, part) in zip(found, expected, strict=True):
        assert part in message


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (HU, None),
        (np.where(HU < -900, -3024, HU), None),
        (HU / 2000.0, "normalised"),
        ((HU + 1000) / 1300.0, "normalised"),
        ((HU - HU.mean()) / HU.std(), "normalised"),
        (HU / 1000.0, "normalised"),
        ((HU + 1024).astype(np.uint16), "offset"),
        (HU * 100.0, "beyond"),
        (np.zeros(SHAPE), "constant"),
        (np.where(HU.max() == HU, np.nan, HU), "1 voxels are NaN"),
        (np.where(HU.max() == HU, np.inf, HU), "infinite"),
        (HU.astype(np.complex64), "type"),
    ],
)
def test_check_manifest_invalid_intensities_are_errors(data, word):
    issue = intensity_issue(data)
    assert issue is None if word is None else word in issue.message


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ([0, 1, 254, 255], None),
        ([0.0, 3.0], None),
        ([0, 256], "allowed are"),
        ([-1, 0], "allowed are"),
        ([0.0, 0.5], "found 0.5"),
        ([0.0, np.nan], "NaN"),
    ],
)
def test_label_issue_invalid_labels_are_named(data, word):
    issue = label_issue(np.array(data))
    assert issue is None if word is None else word in issue.message


def masked(folder, name, values, dtype=np.uint8):
    """A mask of two nodules of 27 and 8 voxels, with these values."""
    mask = np.zeros(SHAPE, dtype)
    mask[1:4, 1:4, 1:4], mask[4:, 5:, 6:] = values
    write_volume(folder / f"{name}.nii.gz", mask, LPS)
    return {"case": name, "patient": name, "mask": f"{name}.nii.gz"}


def examined(folder, *rows):
    base = {"image": "ct.nii.gz", "role": "labelled"}
    return examine_manifest(write_table(folder / "m.csv", [base | row for row in rows]))


def test_check_manifest_masks_of_0_and_255_only_are_an_error(folder):
    check = examined(folder, masked(folder, "a", (255, 255)), masked(folder, "b", (255, 0)))
    assert ["did you mean 1?" in error.message for error in check.errors] == [True]
    rows = [w.row for w in check.warnings if "0 and 255 alone" in w.message]
    assert rows == [2, 3]


def test_check_manifest_one_mask_without_nodule_is_a_warning(folder):
    check = examined(
        folder,
        masked(folder, "a", (1, 255)),
        masked(folder, "b", (255, 255)),
        masked(folder, "c", (0, 0)),
    )
    assert check.errors == []
    found = [(w.row, w.message) for w in check.warnings if w.field == "mask"]
    assert [row for row, _ in found] == [3, 4]
    assert "did you mean 1?" in found[0][1]
    assert "empty" in found[1][1]


@pytest.mark.parametrize(
    ("values", "label", "word"),
    [
        ((1, 2), "0", "the mask marks 2"),
        ((0, 0), "1", "the mask is empty"),
        ((1, 2), "1", None),
        ((0, 0), "0", None),
        ((255, 0), "1", None),
    ],
)
def test_check_manifest_bag_label_against_the_mask_is_an_error(folder, values, label, word):
    rows = [masked(folder, "a", values) | {"bag_label": label}, masked(folder, "b", (1, 2))]
    errors = [error.message for error in examined(folder, *rows).errors]
    assert errors == [] if word is None else [word in message for message in errors] == [True]


@pytest.mark.parametrize("noise", [0.99999994, 1.0000001, 0.9995, 1.0009])
def test_check_and_prepare_labels_close_to_whole_numbers_are_rounded(folder, noise):
    row = masked(folder, "a", (noise, 0), np.float32)
    check = examined(folder, row)
    assert check.errors == []
    assert len(check.cases[0].mask.diameters_mm) == 1
    cases = read_manifest(folder / "m.csv")
    config = DataConfig(cache=str(folder / "cache"), spacing_mm=None)
    (item,) = prepare(cases, config, progress=False)
    assert set(np.unique(item.read("mask"))) == {0, 1}


@pytest.mark.parametrize(
    ("value", "digits"),
    [(np.float32(0.998), "0.998"), (0.99800001, "0.99800001"), (np.float32(1.0025), "1.0025")],
)
def test_label_issue_fractional_label_is_shown_with_its_digits(value, digits):
    issue = label_issue(np.array([0, value], np.asarray(value).dtype))
    assert f"found {digits};" in issue.message


def test_check_manifest_grey_scale_mask_is_a_warning(folder):
    write_volume(folder / "grey.nii.gz", np.arange(336).reshape(SHAPE).astype(np.uint8), LPS)
    check = examined(folder, {"case": "a", "patient": "p", "mask": "grey.nii.gz"})
    assert any("254 nodules" in warning.message for warning in check.warnings)


def test_data_check_warns_of_hu_lungs_and_splits_without_error(folder):
    body = np.full((80, 70, 20), -1000, np.int16)
    body[5:75, 5:65] = 40
    write_volume(folder / "body.nii.gz", body, np.diag([3.0, 3, 5, 1]))
    row = {"case": "a", "patient": "p", "image": "body.nii.gz", "role": "unlabelled"}
    check = examined(folder, row | {"mask": ""})
    assert check.errors == []
    assert "no lungs were found" in check.warnings[-1].message
    assert [w.row for w in check.warnings] == [0, 0, 2]


def test_manifest_summary_counts_cases_voxels_and_nodules(folder):
    rows = [
        masked(folder, name, (1, 2)) | {"split": s} for name, s in (("a", "train"), ("b", "val"))
    ]
    rows.append(
        {"case": "h", "patient": "a", "role": "healthy", "cohort": "NLST", "split": "train"}
    )
    rows = [{"image": "ct.nii.gz", "role": "labelled"} | row for row in rows]
    path = write_table(folder / "m.csv", rows, [*COLUMNS, "cohort"])
    lines = dict(manifest_summary(examine_manifest(path).cases))
    assert lines["cases"] == "3 of 2 patients"
    assert lines["labelled"] == "2 of 2 patients: 1 train, 1 val, 0 test"
    assert lines["cohorts"] == "1 NLST"
    assert lines["voxel, median"] == "1 x 1 x 1 mm"
    assert lines["nodules"] == "4 in 2 of 2 masks"
    assert lines["sizes"] == "4 below 6 mm, 0 from 6 mm, 0 from 10 mm, 0 from 20 mm"
    assert lines["label budget"] == "data.labelled=1 to 1"
