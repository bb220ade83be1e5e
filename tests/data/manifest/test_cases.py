from __future__ import annotations

import time
from pathlib import Path

import pytest
from small_cohort import write_table

from semilung.data.manifest.cases import read_manifest, scan_table
from semilung.types import UserError

GOOD = {"case": "a", "patient": "p", "image": "a.nii.gz", "role": "unlabelled"}


def test_read_manifest_row_becomes_a_case_with_paths_and_targets(tmp_path):
    columns = ["case", "patient", "image", "role", "mask", "bag_label", "cohort", "histology"]
    row = GOOD | {"role": "labelled", "mask": "m/a.nii.gz", "bag_label": "1.0", "histology": "AD"}
    (case,) = read_manifest(write_table(tmp_path / "m.csv", [row | {"cohort": "NLST"}], columns))
    assert case.image == tmp_path / "a.nii.gz"
    assert case.mask == tmp_path / "m" / "a.nii.gz"
    assert (case.bag_label, case.split, case.anatomy, case.cohort) == (1, None, None, "NLST")
    assert case.targets == {"histology": "AD"}


def test_read_manifest_absolute_path_is_kept(tmp_path):
    row = GOOD | {"image": "/elsewhere/a.nii"}
    assert read_manifest(write_table(tmp_path / "m.csv", [row]))[0].image == Path(row["image"])


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"role": "sick"}, "role", "unknown role 'sick'"),
        ({"role": ""}, "role", "empty"),
        ({"patient": ""}, "patient", "empty"),
        ({"case": "a/b"}, "case", "slashes"),
        ({"split": "dev"}, "split", "unknown split 'dev'"),
        ({"bag_label": "2"}, "bag_label", "0, 1 or empty"),
        ({"role": "labelled"}, "mask", "needs a mask"),
        ({"role": "healthy", "bag_label": "1"}, "bag_label", "holds no nodule"),
        ({"role": "weak"}, "bag_label", "needs a scan-level label"),
    ],
)
def test_scan_table_error_names_row_column_and_reason(tmp_path, change, field, message):
    path = write_table(tmp_path / "m.csv", [GOOD | {"case": "first"}, GOOD | change])
    table = scan_table(path)
    (error,) = table.errors
    assert (error.row, error.field) == (3, field)
    assert message in error.message
    assert [case.case for _, case in table.cases] == ["first"]


def test_read_manifest_all_errors_are_listed_at_once(tmp_path):
    rows = [GOOD, GOOD, GOOD | {"case": "b", "role": "sick"}]
    with pytest.raises(UserError) as error:
        read_manifest(write_table(tmp_path / "m.csv", rows))
    assert "2 errors" in str(error.value)
    assert "row 3, case 'a', case: duplicate of row 2" in str(error.value)
    assert "row 4, case 'b', role" in str(error.value)


def test_read_manifest_patient_in_two_splits_is_refused(tmp_path):
    rows = [GOOD | {"split": "train"}, GOOD | {"case": "b", "split": "test"}]
    with pytest.raises(UserError, match="'p' is in test here and in train in row 2"):
        read_manifest(write_table(tmp_path / "m.csv", rows))


def test_scan_table_missing_columns_are_named_with_the_present_ones(tmp_path):
    (tmp_path / "m.csv").write_text("case|patient\na|b\n")
    errors = scan_table(tmp_path / "m.csv").errors
    assert [error.field for error in errors] == ["case", "patient", "image", "role"]
    assert "case|patient" in errors[0].message


def test_read_manifest_column_misspelt_by_case_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("case,patient,image,role,Mask\na,p,a.nii,unlabelled,b.nii\n")
    with pytest.raises(UserError, match="rename it to 'mask'"):
        read_manifest(tmp_path / "m.csv")


def test_read_manifest_duplicate_column_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("case,patient,image,role,image \na,p,a.nii,unlabelled,b.nii\n")
    with pytest.raises(UserError, match="column 'image' is there twice"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize("content", ["", 'case,patient\n"'])
def test_read_manifest_no_table_is_refused(tmp_path, content):
    (tmp_path / "m.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match="not a CSV"):
        read_manifest(tmp_path / "m.csv")


def test_read_manifest_without_rows_or_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no rows"):
        read_manifest(write_table(tmp_path / "m.csv", []))
    with pytest.raises(UserError, match="no such file was found; a manifest is"):
        read_manifest(tmp_path / "other.csv")


def test_read_manifest_twenty_thousand_rows_are_quick(tmp_path):
    rows = [GOOD | {"case": f"c{i}", "patient": f"p{i}", "split": "train"} for i in range(20_000)]
    path = write_table(tmp_path / "m.csv", rows)
    start = time.process_time()
    assert len(read_manifest(path)) == 20_000
    assert time.process_time() - start < 2.0
