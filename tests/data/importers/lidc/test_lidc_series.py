"""CT series of a folder, and the names of their patients."""

import warnings

import pytest
from dicom_series import edited
from lidc_files import SHAPE, write_ct

from semilung.data.importers.lidc.lidc_series import case_names, ct_series
from semilung.types import UserError


def test_ct_series_are_found_at_any_depth_with_their_slices(tmp_path):
    write_ct(tmp_path / "b/study/series", uid="1.1")
    write_ct(tmp_path / "a", uid="1.2")
    (tmp_path / "a/reads.xml").write_text("<x/>")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/notes.txt").write_text("no scan")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    with warnings.catch_warnings(action="error"):
        series = ct_series(tmp_path)
    assert [one.series_uid for one in series] == ["1.2", "1.1"]
    assert all(one.is_alone and one.opened.grid.shape == SHAPE for one in series)
    assert series[0].slices == {f"1.2.{k}": k for k in range(SHAPE[2])}


def test_ct_series_of_a_shared_folder_are_not_alone(tmp_path):
    write_ct(tmp_path / "ct", uid="1.1", SeriesNumber=1)
    for path in (tmp_path / "ct").iterdir():
        path.rename(path.with_name(f"first{path.name}"))
    write_ct(tmp_path / "ct", uid="1.2", SeriesNumber=2)
    series = ct_series(tmp_path)
    assert [(one.series_uid, one.is_alone) for one in series] == [("1.1", False), ("1.2", False)]
    assert series[1].slices == {f"1.2.{k}": k for k in range(SHAPE[2])}


def test_ct_series_radiographs_are_passed_over(tmp_path):
    write_ct(tmp_path / "ct")
    write_ct(tmp_path / "xray", uid="1.9", Modality="DX")
    with warnings.catch_warnings(action="error"):
        assert len(ct_series(tmp_path)) == 1


def test_ct_series_that_cannot_be_read_are_left_out_with_a_warning(tmp_path):
    write_ct(tmp_path / "good")
    write_ct(tmp_path / "gap", uid="1.1")
    edited(tmp_path / "gap", 1, ImagePositionPatient=[0, 0, 99])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/1.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"damage" * 9)
    with pytest.warns(UserWarning, match="left out of the import") as warned:
        assert [one.folder.name for one in ct_series(tmp_path)] == ["good"]
    assert len(warned) == 2
    with pytest.raises(UserError, match=r"gap: .* not evenly spaced"):
        ct_series(tmp_path / "gap")


def test_ct_series_that_is_there_twice_is_imported_once(tmp_path):
    write_ct(tmp_path / "a")
    write_ct(tmp_path / "b")
    with pytest.warns(UserWarning, match=r"b holds the same series as .*a; remove one"):
        assert [one.folder.name for one in ct_series(tmp_path)] == ["a"]


def test_case_names_are_pseudonyms_with_numbers_for_further_series(tmp_path):
    write_ct(tmp_path / "a", uid="1.3", patient="LIDC-IDRI-0132")
    write_ct(tmp_path / "b", uid="1.2", patient="LIDC-IDRI-0132")
    write_ct(tmp_path / "c", uid="1.1", patient="LIDC-IDRI-0003")
    assert case_names(ct_series(tmp_path)) == [
        ("LIDC-IDRI-0132_2", "LIDC-IDRI-0132"),
        ("LIDC-IDRI-0132_1", "LIDC-IDRI-0132"),
        ("LIDC-IDRI-0003", "LIDC-IDRI-0003"),
    ]


@pytest.mark.parametrize("patient", ["MRN-4711", "LIDC-IDRI-00031", "LIDC-IDRI-0003 Doe", "x/../y"])
def test_case_names_replace_any_other_patient_id(tmp_path, patient):
    write_ct(tmp_path / "a", uid="1.1", patient=patient)
    write_ct(tmp_path / "b", uid="1.2", patient=patient)
    write_ct(tmp_path / "c", uid="1.3", patient="")
    assert case_names(ct_series(tmp_path)) == [
        ("patient-1_1", "patient-1"),
        ("patient-1_2", "patient-1"),
        ("patient-2", "patient-2"),
    ]
