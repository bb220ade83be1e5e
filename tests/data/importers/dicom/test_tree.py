"""Series of a tree, and why some cannot be used."""

import shutil
import warnings

import pytest
from dicom_series import edited
from hospital_tree import SHAPE, write_ct

from semilung.data.importers.dicom.tree import dicom_tree
from semilung.data.io.volume import read_volume


def problems(tree):
    return {one.folder.name: one.problem for one in tree.series}


def test_tree_series_are_at_any_depth_and_several_in_a_folder(tmp_path):
    write_ct(tmp_path / "a/b/c", uid="1.2.3.1", number=4)
    write_ct(tmp_path / "a/b/c", uid="1.2.3.2", number=5)
    write_ct(tmp_path / "d", uid="1.2.3.3")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "e").mkdir()
    (tmp_path / "e/notes.txt").write_text("no scan")
    with warnings.catch_warnings(action="error"):
        tree = dicom_tree(tmp_path)
    assert [one.path.name for one in tree.volumes] == ["c#4", "c#5", "d"]
    assert tree.errors == []
    assert all(read_volume(one.path).shape == one.grid.shape == SHAPE for one in tree.volumes)
    assert tree.volumes[1].slices == {f"1.2.3.2.{k}": k for k in range(SHAPE[2])}


def test_tree_a_copy_of_a_series_is_used_once(tmp_path):
    write_ct(tmp_path / "a", uid="1.2.3.1")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    next((tmp_path / "a").iterdir()).unlink()
    tree = dicom_tree(tmp_path)
    assert [one.folder.name for one in tree.volumes] == ["b"]
    assert "a holds the same series as" in problems(tree)["a"]


def test_tree_a_series_in_two_parts_is_not_used(tmp_path):
    write_ct(tmp_path / "a", uid="1.2.3.1")
    (tmp_path / "b").mkdir()
    for k in (0, 1):
        path = next((tmp_path / "a").glob(f"*{k}.dcm"))
        path.rename(tmp_path / "b" / path.name)
    tree = dicom_tree(tmp_path)
    assert tree.volumes == []
    assert all("each hold a part of one series" in text for text in problems(tree).values())


def test_tree_a_damaged_file_spoils_its_folder_alone(tmp_path):
    write_ct(tmp_path / "good", uid="1.2.3.1")
    write_ct(tmp_path / "gap", uid="1.2.3.2")
    edited(tmp_path / "gap", 1, ImagePositionPatient=[0, 0, 99])
    write_ct(tmp_path / "damaged", uid="1.2.3.3")
    (tmp_path / "damaged/x.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"damage" * 9)
    (tmp_path / "all").mkdir()
    (tmp_path / "all/x.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"damage" * 9)
    tree = dicom_tree(tmp_path)
    assert [one.folder.name for one in tree.volumes] == ["good"]
    assert "not evenly spaced" in problems(tree)["gap"]
    assert "x.dcm: this is no DICOM slice" in problems(tree)["damaged"]
    assert len(tree.errors) == 1


@pytest.mark.parametrize("identity", ["PatientID", "StudyInstanceUID"])
def test_tree_patient_is_known_by_id_or_else_by_study(tmp_path, identity):
    fields = {} if identity == "PatientID" else {"PatientID": " "}
    write_ct(tmp_path / "a", uid="1.2.3.1", study="1.2.5", **fields)
    write_ct(tmp_path / "b", uid="1.2.3.2", study="1.2.5", **fields)
    write_ct(tmp_path / "c", uid="1.2.3.3", study="1.2.6", **fields)
    a, b, c = (one.patient_key for one in dicom_tree(tmp_path).volumes)
    assert a == b
    assert (a == c) == (identity == "PatientID")
