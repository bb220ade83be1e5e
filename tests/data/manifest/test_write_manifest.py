"""Manifests that are written are read back as the same cases."""

from pathlib import Path

import pytest

from semilung.data.manifest.cases import Case, read_manifest
from semilung.data.manifest.nodules import Nodule
from semilung.data.manifest.write_manifest import write_manifest
from semilung.types import UserError

NODULE = Nodule("1", (1.5, -2.0, 3.0), 8.0, source="readers", targets={"malignancy": "4"})


def cohort(folder):
    return [
        Case("a", "p1", folder / "images/a.nii.gz", "labelled", mask=folder / "a_mask.nii.gz"),
        Case("b", "p2", Path("/elsewhere/b.nii.gz"), "labelled", nodules=(NODULE,), split="val"),
        Case("c", "p3", folder / "c", "weak", bag_label=1, cohort="=x", targets={"site": "A"}),
        Case("d", "p4", folder / "d.nii", "healthy", anatomy=folder / "d_anatomy.nii.gz"),
    ]


def with_targets(cases, names):
    """Cases as a table gives them: every further column is filled or empty."""
    return [
        Case(**{**vars(case), "targets": {n: case.targets.get(n, "") for n in names}})
        for case in cases
    ]


def test_write_manifest_gives_the_same_cases_when_read(tmp_path):
    path = write_manifest(tmp_path / "new" / "manifest.csv", cohort(tmp_path / "new"))
    assert read_manifest(path) == with_targets(cohort(tmp_path / "new"), ["site"])


def test_write_manifest_of_a_folder_that_moves_is_still_read(tmp_path):
    write_manifest(tmp_path / "new" / "manifest.csv", cohort(tmp_path / "new"))
    (tmp_path / "new").rename(tmp_path / "moved")
    cases = read_manifest(tmp_path / "moved" / "manifest.csv")
    assert cases == with_targets(cohort(tmp_path / "moved"), ["site"])


def test_write_manifest_leaves_out_columns_that_no_case_fills(tmp_path):
    path = write_manifest(tmp_path / "manifest.csv", cohort(tmp_path)[3:])
    assert path.read_text().splitlines()[0] == "case,patient,image,role,anatomy"


def test_write_manifest_next_to_nodules_of_another_is_refused_and_loses_nothing(tmp_path):
    write_manifest(tmp_path / "manifest.csv", cohort(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="nodules of other cases"):
        write_manifest(tmp_path / "other.csv", cohort(tmp_path)[:1])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_write_manifest_next_to_an_invalid_nodules_csv_loses_nothing(tmp_path):
    sidecar = tmp_path / "nodules.csv"
    for table in ("my own list\n", "case,nodule,x_mm,y_mm,z_mm\nb,1,left,2,3\n"):
        sidecar.write_text(table)
        with pytest.raises(UserError, match="its rows would be lost here"):
            write_manifest(tmp_path / "manifest.csv", cohort(tmp_path))
        assert sidecar.read_text() == table
