"""DICOM SEG of findings, read back by highdicom, pydicom, dcmqi and the project's own reader."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import AXIAL, edited, write_series
from made_findings import ball, made_result
from scipy.spatial.transform import Rotation

from semilung import __version__
from semilung.data.io.dicom.series import open_series
from semilung.data.io.same_grid import is_part
from semilung.data.io.volume import read_volume
from semilung.types import UserError
from semilung.writers import dicom_seg
from semilung.writers.dicom_seg import write_dicom_seg

hd = pytest.importorskip("highdicom")

SHAPE = (22, 18, 9)
ORIENTATIONS = {
    "head_first": AXIAL,
    "feet_first": AXIAL * [[-1], [1]],
    "prone": AXIAL * [[-1], [-1]],
    "coronal": np.array([[1.0, 0, 0], [0, 0, -1.0]]),
    "oblique": AXIAL @ Rotation.from_euler("xyz", [8, -12, 20], degrees=True).as_matrix(),
}


def chest(folder, orientation=AXIAL, **fields):
    """A series under names out of order with three balls, a value of HU each."""
    hu = np.full(SHAPE, -800)
    for value, centre, radius in (
        (100, (5, 6, 2), 2.4), (200, (15, 12, 6), 2.9), (300, (12, 3, 7), 1.2)
    ):  # fmt: skip
        hu[ball(SHAPE, centre, radius)] = value
    return write_series(folder, hu, orientation=orientation, **fields)


def written(folder, path):
    volume = read_volume(folder)
    result = made_result(volume, np.maximum(volume.data, 0) / 1000)
    write_dicom_seg(path, result, open_series(folder).files)
    return result


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A series, its SEG, and what was written."""
    folder = tmp_path_factory.mktemp("seg")
    result = written(chest(folder / "ct"), folder / "a.dcm")
    return folder / "ct", folder / "a.dcm", result


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_write_dicom_seg_marks_the_voxels_of_each_finding_in_every_source_slice(tmp_path, name):
    folder = chest(tmp_path / "ct", ORIENTATIONS[name])
    result = written(folder, tmp_path / "a.dcm")
    seg = hd.seg.segread(tmp_path / "a.dcm")
    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    pixels = seg.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in slices], ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    assert result.findings["probability"].tolist() == pytest.approx([0.3, 0.2, 0.1])
    for one, frame in zip(slices, pixels, strict=True):
        hu = one.pixel_array.astype(int) + int(one.RescaleIntercept)
        for segment, value in enumerate((300, 200, 100)):
            np.testing.assert_array_equal(frame[..., segment], hu == value)


def test_write_dicom_seg_states_code_algorithm_and_source(plain):
    folder, path, result = plain
    seg, source = pydicom.dcmread(path), pydicom.dcmread(next(folder.iterdir()))
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[name].value == source[name].value
    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    instances = {pydicom.dcmread(one).SOPInstanceUID for one in folder.iterdir()}
    (series,) = seg.ReferencedSeriesSequence
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence} == instances
    assert len(seg.SegmentSequence) == 3
    for row, segment in zip(result.findings.to_dict("records"), seg.SegmentSequence, strict=True):
        assert segment.SegmentNumber == row["label"]
        assert segment.TrackingID == f"nodule {row['label']}"
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "27925004"
        assert segment.AnatomicRegionSequence[0].CodeValue == "39607008"
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("semilung", __version__)
        assert "a_run" in algorithm.AlgorithmParameters
    assert len({segment.TrackingUID for segment in seg.SegmentSequence}) == 3


@pytest.mark.parametrize("name", ["head_first", "feet_first", "oblique"])
def test_write_dicom_seg_is_opened_by_dcmqi_with_every_voxel_in_its_place(tmp_path, name):
    dcmqi = pytest.importorskip("dcmqi")
    tool = Path(dcmqi.__file__).parent / "bin/segimage2itkimage"
    folder = chest(tmp_path / "ct", ORIENTATIONS[name])
    result = written(folder, tmp_path / "a.dcm")
    (tmp_path / "itk").mkdir()
    command = [tool, "--inputDICOM", tmp_path / "a.dcm", "--outputDirectory", tmp_path / "itk",
               "--outputType", "nii"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    for label in (1, 2, 3):
        segment = read_volume(tmp_path / f"itk/{label}.nii.gz")
        assert is_part(segment, result.volume)
        np.testing.assert_allclose(
            points_mm(segment.data != 0, segment.affine),
            points_mm(result.labels.data == label, result.labels.affine),
            atol=0.01,
        )


def points_mm(mask, affine):
    """World coordinates of the voxels of a mask, sorted to a hundredth of a mm."""
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return points[np.lexsort(points.round(1).T)]


@pytest.mark.parametrize("lacking", ["PatientID", "StudyID", "AccessionNumber", "PatientBirthDate"])
def test_write_dicom_seg_of_a_series_without_what_may_be_empty(tmp_path, lacking):
    folder = chest(tmp_path / "ct")
    for number in range(SHAPE[2]):
        edited(folder, number, **{lacking: None})
    written(folder, tmp_path / "a.dcm")
    assert pydicom.dcmread(tmp_path / "a.dcm")[lacking].value in ("", None)


@pytest.mark.parametrize("lacking", ["FrameOfReferenceUID", "StudyInstanceUID", "SOPInstanceUID"])
def test_write_dicom_seg_of_a_series_without_an_identifier_is_refused(tmp_path, lacking):
    folder = chest(tmp_path / "ct")
    for number in range(SHAPE[2]):
        edited(folder, number, **{lacking: None})
    with pytest.raises(UserError, match=f"the slice has no {lacking}"):
        written(folder, tmp_path / "a.dcm")
    assert not (tmp_path / "a.dcm").exists()


def test_write_dicom_seg_header_that_highdicom_refuses_is_one_message_without_its_value(tmp_path):
    folder = chest(tmp_path / "ct")
    edited(folder, 3, StudyInstanceUID="1.2.3.4.5")
    with pytest.raises(UserError, match="headers of the series do not allow") as caught:
        written(folder, tmp_path / "a.dcm")
    assert "1.2.3.4.5" not in str(caught.value)
    assert caught.value.__cause__ is None  # a traceback would quote the header
    assert not (tmp_path / "a.dcm").exists()


def test_write_dicom_seg_of_more_findings_than_segments_is_refused(plain, tmp_path, monkeypatch):
    folder, _, result = plain
    monkeypatch.setattr(dicom_seg, "MAX_SEGMENTS", 2)
    with pytest.raises(UserError, match="3 findings are more than the 2 segments"):
        write_dicom_seg(tmp_path / "b.dcm", result, open_series(folder).files)


def test_require_highdicom_names_the_extra_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UserError, match=r"pip install 'semilung\[dicom\]'"):
        dicom_seg.require_highdicom()


def test_write_dicom_seg_of_files_with_several_frames_is_refused(plain, tmp_path):
    folder, _, result = plain
    with pytest.raises(UserError, match="1 files of 9 slices"):
        write_dicom_seg(tmp_path / "b.dcm", result, open_series(folder).files[:1])


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        ("ISO_IR 100", "M\xfcller^J\xf6rg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
        (None, "Doe^Jane"),
    ],
)
def test_write_dicom_seg_keeps_the_name_of_the_patient_in_any_character_set(
    tmp_path, characters, name
):
    folder = chest(tmp_path / "ct", SpecificCharacterSet=characters, PatientName=name)
    volume = read_volume(folder)
    result = replace(made_result(volume, np.maximum(volume.data, 0) / 1000), run="\u30e9\u30f3")
    write_dicom_seg(tmp_path / "a.dcm", result, open_series(folder).files)
    seg = pydicom.dcmread(tmp_path / "a.dcm")
    assert str(seg.PatientName) == name
    (algorithm,) = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert "run=\u30e9\u30f3" in algorithm.AlgorithmParameters
