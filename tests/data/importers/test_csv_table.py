"""Import of a table with columns of any name."""

import numpy as np
import pytest

from semilung.data import read_manifest, write_volume
from semilung.data.importers import import_cohort
from semilung.types import UserError

TABLE = """\
CT;Seg;Subject;Group;Age
ct/a.nii.gz;ct/a_seg.nii.gz;P1;nodule;61
ct/b.nii.gz;;P2;normal;48
"""
OPTIONS = {
    "columns": {"image": "CT", "mask": "Seg", "patient": "Subject", "role": "Group"},
    "roles": {"nodule": "labelled", "normal": "healthy"},
    "targets": ["Age"],
}


@pytest.fixture
def source(tmp_path):
    for name in ("a", "a_seg", "b"):
        write_volume(tmp_path / f"in/ct/{name}.nii.gz", np.ones((3, 3, 3), np.int16), np.eye(4))
    (tmp_path / "in/scans.csv").write_text(TABLE)
    return tmp_path / "in/scans.csv"


def test_csv_columns_roles_and_targets_are_translated(source, tmp_path):
    manifest, _ = import_cohort("csv", source, tmp_path / "out", options=OPTIONS)
    a, b = read_manifest(manifest)
    assert (a.case, a.patient, a.role, a.targets["Age"]) == ("a", "P1", "labelled", "61")
    assert (b.case, b.patient, b.role, b.mask) == ("b", "P2", "healthy", None)
    assert a.image.samefile(source.parent / "ct/a.nii.gz")
    assert a.mask.samefile(source.parent / "ct/a_seg.nii.gz")


def test_csv_with_paths_alone_is_labelled_by_its_masks(source, tmp_path):
    source.write_text("image,mask\nct/a.nii.gz,ct/a_seg.nii.gz\nct/b.nii.gz,\n")
    cases = import_cohort("csv", source, tmp_path / "out")[1]
    assert [(c.case, c.patient, c.role) for c in cases] == [
        ("a", "a", "labelled"),
        ("b", "b", "unlabelled"),
    ]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path\nct/a.nii.gz\n", {}, "no column 'image', it has path"),
        ("image\nct/a.nii.gz\n", {"columns": {"mask": "Seg"}}, "no column 'Seg'"),
        ("image\nct/a.nii.gz\n", {"columns": {"masks": "Seg"}}, "did you mean mask"),
        ("image,role\nct/a.nii.gz,normal\n", {}, "row 2 has the role 'normal'.*normal: healthy"),
        ("image,role\nct/a.nii.gz,x\n", {"roles": {"x": "sane"}}, "roles: 'x' becomes 'sane'"),
        ("image,split\nct/a.nii.gz,dev\n", {}, "split 'dev'"),
        ("image,mask\n,ct/a.nii.gz\n", {}, "row 2 of the table names no scan"),
    ],
)
def test_csv_errors_name_row_column_and_remedy(source, tmp_path, text, options, message):
    source.write_text(text)
    with pytest.raises(UserError, match=message):
        import_cohort("csv", source, tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()
