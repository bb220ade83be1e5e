"""DICOM series: what ITK reads from them is read, in HU and in its place, and nothing else is."""

import builtins
import shutil
from contextlib import suppress

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_series import real_slice, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from scipy.spatial.transform import Rotation

from semilung.data import DataConfig, check_manifest, prepare, read_manifest
from semilung.data.prepare import prepared_image
from semilung.data.volume import files_of, read_header, read_volume, same_grid, stem_of, to_ras
from semilung.types import UserError

SHAPE = (6, 5, 4)
HU = np.random.default_rng(0).integers(-1024, 1200, SHAPE)


def itk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    turn=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_a_series_is_read_as_itk_reads_it(tmp_path, turn, spacing, origin):
    shutil.rmtree(tmp_path / "scan", ignore_errors=True)
    orientation = Rotation.from_rotvec(turn).as_matrix()[:2]
    folder = write_series(
        tmp_path / "scan", HU, spacing_mm=spacing, orientation=orientation, origin_mm=origin
    )
    volume, image = read_volume(folder), itk(folder)
    np.testing.assert_array_equal(volume.data, sitk.GetArrayFromImage(image).T)
    np.testing.assert_array_equal(volume.data, HU)
    for index in [(0, 0, 0), (5, 1, 2), (1, 4, 3)]:
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(volume.affine @ [*index, 1], [-x, -y, z, 1], atol=1e-2)


def test_by_hand(tmp_path):
    folder = write_series(tmp_path / "scan", HU)
    volume = read_volume(folder)
    assert volume.data.dtype == np.int16
    assert volume.shape == SHAPE
    np.testing.assert_allclose(
        volume.affine[:3], [[-0.7, 0, 0, 100], [0, -0.8, 0, -50], [0, 0, 2.5, 20]]
    )
    assert stem_of(folder) == "scan"
    assert len(files_of(folder)) == 4


def test_a_series_lies_where_its_nifti_does(tmp_path):
    folder = write_series(tmp_path / "scan", HU, orientation=np.array([[0, 1.0, 0], [0, 0, -1]]))
    sitk.WriteImage(itk(folder), str(tmp_path / "a.nii.gz"))
    ours, nifti = to_ras(read_volume(folder)), to_ras(read_volume(tmp_path / "a.nii.gz"))
    assert same_grid(ours, nifti)
    np.testing.assert_array_equal(ours.data, nifti.data)


def test_each_slice_has_a_scale_of_its_own(tmp_path):
    folder = write_series(tmp_path / "scan", HU)
    path = sorted(folder.iterdir())[2]
    slice_ = pydicom.dcmread(path)
    slice_.RescaleSlope, slice_.RescaleIntercept = "0.5", "-10"
    slice_.save_as(path)
    k = int(slice_.InstanceNumber) - 1
    expected = HU.astype(np.float32)
    expected[..., k] = (HU[..., k] + 1024) * 0.5 - 10
    got = read_volume(folder)
    assert got.data.dtype == np.float32
    np.testing.assert_array_equal(got.data, expected)


@pytest.mark.parametrize(
    "syntax",
    ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "RLELossless", "ExplicitVRLittleEndian"],
)
def test_ways_of_storing_pixels(tmp_path, syntax):
    folder = write_series(tmp_path / "scan", HU)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        uid = getattr(pydicom.uid, syntax)
        if syntax == "RLELossless":
            slice_.compress(uid)
        elif syntax == "ExplicitVRBigEndian":
            slice_.PixelData = slice_.pixel_array.astype(">i2").tobytes()
        slice_.file_meta.TransferSyntaxUID = uid
        big, implicit = "Big" in syntax, "Implicit" in syntax
        pydicom.dcmwrite(
            path, slice_, implicit_vr=implicit, little_endian=not big, force_encoding=True
        )
    np.testing.assert_array_equal(read_volume(folder).data, HU)


def test_what_lies_beside_the_slices_is_left_alone(tmp_path):
    folder = write_series(tmp_path / "scan", HU)
    for name in ("069.xml", ".DS_Store", "DICOMDIR", "LICENSE.txt"):
        (folder / name).write_text("no slice")
    (folder / "thumbnails").mkdir()
    assert read_header(folder).shape == SHAPE
    (folder / "IM0001").write_text("no slice")
    with pytest.raises(UserError, match=r"IM0001: this is no DICOM slice.*holds its slices alone"):
        read_header(folder)


def edited(folder, number, **fields):
    path = sorted(folder.iterdir())[number]
    slice_ = pydicom.dcmread(path)
    for name, value in fields.items():
        if value is None:
            delattr(slice_, name)
        else:
            setattr(slice_, name, value)
    slice_.save_as(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"Modality": "MR"}, "Modality is 'MR', and only 'CT' is read"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel is 3"),
        ({"BitsAllocated": 8}, "BitsAllocated is 8"),
        ({"NumberOfFrames": 2}, "NumberOfFrames is"),
        ({"RescaleIntercept": None}, "no RescaleIntercept, without which"),
        ({"ImagePositionPatient": None}, "no ImagePositionPatient"),
        ({"ImagePositionPatient": [1, 2]}, "header is damaged"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not at right angles"),
        ({"PixelSpacing": [0.7, 0.9]}, "not those of"),
        ({"Columns": 7}, "not those of"),
        ({"SeriesInstanceUID": "1.2.3"}, "4 slices are of 2 series"),
        ({"ImagePositionPatient": [-100, 50, 23.9]}, "not evenly spaced"),
        ({"RescaleSlope": "1e9"}, "no scan's"),
        ({"PixelData": b"12"}, "no DICOM slice that can be read"),
    ],
)
def test_refusals(tmp_path, fields, message):
    folder = write_series(tmp_path / "scan", HU)
    edited(folder, 2, **fields)
    with pytest.raises(UserError, match=message):
        read_volume(folder)


def test_a_missing_slice_is_told(tmp_path):
    folder = write_series(tmp_path / "scan", HU)
    gone = next(p for p in folder.iterdir() if pydicom.dcmread(p).InstanceNumber == 2)
    gone.unlink()
    with pytest.raises(UserError, match=r"2\.5 to 5 mm apart.*Is one missing"):
        read_header(folder)


def test_too_much_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    folder = write_series(tmp_path / "scan", HU)
    with (folder / "large").open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(UserError, match=r"large: a slice of more than 16777216 bytes"):
        read_header(folder)
    monkeypatch.setattr("semilung.data.dicom.MAX_SLICES", 4)
    with pytest.raises(UserError, match="5 files are no series, the limit is 4"):
        read_header(folder)


def test_one_slice_and_none(tmp_path):
    (tmp_path / "one").mkdir()
    real_slice().save_as(tmp_path / "one" / "a.dcm")
    with pytest.raises(UserError, match="holds one slice"):
        read_header(tmp_path / "one")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="a folder without DICOM slices"):
        read_header(tmp_path / "none")
    with pytest.raises(UserError, match="and the folder of a DICOM series"):
        read_header(tmp_path / "one" / "a.dcm")


def test_a_tilted_gantry_is_told(tmp_path):
    tilt = Rotation.from_euler("x", 20, degrees=True).as_matrix()[:2]
    folder = write_series(tmp_path / "scan", HU, orientation=tilt)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        z = float(slice_.ImagePositionPatient[2])
        slice_.ImagePositionPatient = [-100, 50, z]
        slice_.save_as(path)
    with pytest.raises(UserError, match="gantry was tilted"):
        read_header(folder)


def test_a_deflated_file_is_not_unpacked(tmp_path):
    for name in "ab":
        shutil.copy(get_testdata_file("image_dfl.dcm"), tmp_path / f"{name}.dcm")
    with pytest.raises(UserError, match="deflated DICOM is not read"):
        read_header(tmp_path)


def test_pixels_that_no_decoder_knows_are_told(tmp_path):
    folder = write_series(tmp_path / "scan", HU)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 no JPEG"])
        slice_["PixelData"].VR, slice_["PixelData"].is_undefined_length = "OB", True
        slice_.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        slice_.save_as(path)
    assert read_header(folder).shape == SHAPE
    with pytest.raises(UserError, match="can be read"):
        read_volume(folder)


def test_without_pydicom_it_is_named(tmp_path, monkeypatch):
    folder, known = write_series(tmp_path / "scan", HU), builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pydicom"):
            raise ImportError(name)
        return known(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'semilung\[dicom\]'"):
        read_header(folder)


def test_a_cohort_of_series(tmp_path):
    hu = np.full((24, 24, 24), -1000)
    hu[4:20, 4:20] = -800
    folder = write_series(tmp_path / "scan", hu, spacing_mm=(2, 2, 2))
    (tmp_path / "m.csv").write_text("case,patient,image,role\na,p,scan,unlabelled\n")
    assert check_manifest(tmp_path / "m.csv") == []
    config = DataConfig(manifest=str(tmp_path / "m.csv"), cache=str(tmp_path / "cache"))
    cases = read_manifest(tmp_path / "m.csv")
    (first,) = prepare(cases, config)
    assert prepare(cases, config)[0].files == first.files
    edited(folder, 3, RescaleIntercept=-1000)
    assert prepare(cases, config)[0].files != first.files


@pytest.mark.parametrize("cases", [60, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_series_are_read_or_refused(tmp_path, cases):
    folder = write_series(tmp_path / "scan", HU)
    names = ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "nested_priv_SQ.dcm", "badVR.dcm"]
    target = min(folder.iterdir())
    sources = [target.read_bytes()] * 3
    sources += [open(get_testdata_file(name), "rb").read() for name in names]  # noqa: SIM115, PTH123

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        source=st.sampled_from(sources),
        damage=st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 255)), max_size=6),
        cut=st.integers(0, 40_000),
    )
    def check(source, damage, cut):
        raw = bytearray(source)
        for at, byte in damage:
            raw[at % len(raw)] = byte
        target.write_bytes(raw[:cut] if cut < len(raw) else raw)
        with suppress(UserError):
            prepared_image(read_volume(folder), DataConfig(), name="scan")

    check()
