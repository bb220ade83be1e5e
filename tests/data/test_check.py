from __future__ import annotations

import numpy as np
import pytest
from small_cohort import LPS, write_table

from semilung.data.check import check_manifest
from semilung.data.faults import label_issue
from semilung.data.hounsfield import intensity_issue
from semilung.data.volume import write_volume

SHAPE = (6, 7, 8)
HU = np.linspace(-1000, 300, 6 * 7 * 8).reshape(SHAPE).astype(np.int16)


@pytest.fixture
def folder(tmp_path):
    write_volume(tmp_path / "ct.nii.gz", HU, LPS)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, 2, 2] = 1
    write_volume(tmp_path / "mask.nii.gz", mask, LPS)
    return tmp_path


def faults(folder, *rows):
    base = {"patient": "p", "image": "ct.nii.gz", "role": "labelled", "mask": "mask.nii.gz"}
    full = [{"case": f"c{i}"} | base | row for i, row in enumerate(rows)]
    return [
        (f.row, f.field, f.message) for f in check_manifest(write_table(folder / "m.csv", full))
    ]


def test_a_sound_manifest_has_no_faults(cohort_folder):
    # Its unlabelled rows name a mask that cannot be read: it is none of the check's business.
    assert check_manifest(cohort_folder / "manifest.csv") == []


def test_faults_of_volumes_and_of_the_table_come_together(folder):
    far = LPS.copy()
    far[0, 3] = 5
    write_volume(folder / "far.nii.gz", np.zeros(SHAPE, np.uint8), far)
    write_volume(folder / "big.nii.gz", np.zeros((9, 9, 9), np.uint8), LPS)
    write_volume(folder / "soft.nii.gz", np.full(SHAPE, 0.5, np.float32), LPS)
    (folder / "cut.nii.gz").write_bytes((folder / "ct.nii.gz").read_bytes()[:-300])
    (folder / "none.nii.gz").touch()
    found = faults(
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
def test_intensities(data, word):
    issue = intensity_issue(data)
    assert issue is None if word is None else word in issue.message


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ([0, 1, 254, 255], None),
        ([0.0, 3.0], None),
        ([0, 256], "known are"),
        ([-1, 0], "known are"),
        ([0.0, 0.5], "found 0.5"),
        ([0.0, np.nan], "NaN"),
    ],
)
def test_labels(data, word):
    issue = label_issue(np.array(data))
    assert issue is None if word is None else word in issue.message
