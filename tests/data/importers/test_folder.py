"""Import of a folder of scans."""

import numpy as np
import pytest
from dicom_series import write_series

from semilung.data import read_manifest, write_volume
from semilung.data.importers import import_cohort
from semilung.types import UserError


@pytest.fixture
def scans(tmp_path):
    """Make volumes by their paths below a folder."""

    def make(*paths):
        source = tmp_path / "scans"
        for path in paths:
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            write_volume(source / path, np.zeros((4, 4, 4), np.int16), np.eye(4))
        return source

    return make


def imported(source, out, **options):
    manifest, _ = import_cohort("folder", source, out / "m", options=options)
    return {case.case: case for case in read_manifest(manifest)}


def test_folder_of_roles_gives_each_scan_its_role(scans, tmp_path):
    source = scans(
        "labelled/a.nii.gz", "labelled/a_mask.nii.gz", "labelled/deep/b.nii", "masks/b.nii.gz",
        "healthy/c.nii.gz", "unlabelled/d.nii.gz", "weak/with_nodule/e.nii.gz",
        "weak/without_nodule/f.nii.gz",
    )  # fmt: skip
    cases = imported(source, tmp_path)
    assert {name: case.role for name, case in cases.items()} == {
        "a": "labelled", "b": "labelled", "c": "healthy", "d": "unlabelled", "e": "weak",
        "f": "weak",
    }  # fmt: skip
    assert cases["a"].mask == source / "labelled/a_mask.nii.gz"
    assert cases["b"].mask == source / "masks/b.nii.gz"
    assert [cases[name].bag_label for name in "ef"] == [1, 0]
    assert {case.cohort for case in cases.values()} == {"scans"}
    assert {name: case.patient for name, case in cases.items()} == {n: n for n in "abcdef"}


def test_folder_without_roles_is_labelled_where_there_is_a_mask(scans, tmp_path):
    cases = imported(scans("a.nii.gz", "a-seg.nii.gz", "b.nii.gz"), tmp_path)
    assert {name: case.role for name, case in cases.items()} == {"a": "labelled", "b": "unlabelled"}


def test_folder_scan_and_mask_may_both_have_endings(scans, tmp_path):
    source = scans("a_CT.nii.gz", "a_mask.nii.gz", "b_ct.nii.gz", "masks/b.nii.gz", "ct.nii.gz")
    cases = imported(source, tmp_path)
    assert {name: case.role for name, case in cases.items()} == {
        "a": "labelled", "b": "labelled", "ct": "unlabelled",
    }  # fmt: skip
    assert cases["a"].image == source / "a_CT.nii.gz"


def test_folder_with_a_series_of_dicom_is_one_scan(tmp_path):
    (tmp_path / "scans/healthy").mkdir(parents=True)
    write_series(tmp_path / "scans/healthy/patient 1", np.full((4, 5, 3), -900))
    cases = imported(tmp_path / "scans", tmp_path)
    assert [(c.role, c.image.name) for c in cases.values()] == [("healthy", "patient 1")]


def test_folder_patient_is_the_group_of_a_pattern_or_a_row_of_a_table(scans, tmp_path):
    source = scans("P1_2020.nii.gz", "P1_2021.nii.gz", "P2_2020.nii.gz")
    cases = imported(source, tmp_path, patient="(P[0-9]+)_")
    assert [case.patient for case in cases.values()] == ["P1", "P1", "P2"]
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\nP1_2020,x\nP1_2021,y\nP2_2020,y\n")
    cases = imported(source, tmp_path / "other", patients=str(table))
    assert [case.patient for case in cases.values()] == ["x", "y", "y"]


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["labelled/a.nii.gz"], {}, "has no mask.* a_mask"),
        (["healthy/a.nii.gz", "b_mask.nii.gz"], {}, "no scan 'b'"),
        (["a.nii.gz", "a_seg.nii.gz", "masks/a.nii.gz"], {}, "masks of one scan"),
        (["x/a.nii.gz", "y/a.nii.gz"], {}, "the same name"),
        (["weak/a.nii.gz"], {}, "weak/with_nodule or weak/without_nodule"),
        (["a.nii.gz"], {"patient": "(P.)"}, "does not match the name 'a'"),
        (["a.nii.gz"], {"patient": "P"}, "has no group"),
        (["a.nii.gz"], {"patient": "(P"}, "no regular expression"),
        (["a.nii.gz"], {"patients": "none.csv"}, "none.csv"),
        (["a.nii.gz"], {"pattern": "(P)"}, "has no option 'pattern'.*patient"),
    ],
)
def test_folder_errors_name_what_to_change(scans, tmp_path, paths, options, message):
    with pytest.raises(UserError, match=message):
        imported(scans(*paths), tmp_path, **options)
    assert not (tmp_path / "m").exists()
