"""Damaged and hostile DICOM series are refused with one clear error."""

import builtins
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress

import numpy as np
import pydicom
import pytest
from dicom_series import edited, real_slice, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from scipy.spatial.transform import Rotation

from semilung.data import DataConfig
from semilung.data.cache.prepare import prepared_image
from semilung.data.io.grid import spacing_of
from semilung.data.io.volume import read_grid, read_volume
from semilung.types import UserError

SHAPE = (6, 5, 4)
HU = np.random.default_rng(0).integers(-1024, 1200, SHAPE)


def test_read_grid_other_files_next_to_slices_are_ignored(tmp_path):
    folder = write_series(tmp_path / "scan", HU)
    for name in ("069.xml", ".DS_Store", "dicomdir", "Thumbs.db", "VERSION", "mask.nii.gz",
                 "viewer.dll", "letter.docx"):  # fmt: skip
        (folder / name).write_text("no slice")
    (folder / "thumbnails").mkdir()
    assert read_grid(folder).shape == SHAPE
    for name in ("1.2.840.113619", "a.nii"):  # by what they hold they are slices
        slice_ = pydicom.dcmread(max(folder.glob("*.dcm")))
        slice_.PixelData = bytes(len(slice_.PixelData))
        slice_.save_as(folder / name)
        with pytest.raises(UserError, match="there twice"):
            read_grid(folder)
        (folder / name).unlink()
    (folder / "gone.dcm").symlink_to(tmp_path / "missing")
    with pytest.raises(UserError, match=r"gone\.dcm: this cannot be read as a file.*broken link"):
        read_grid(folder)
    (folder / "gone.dcm").unlink()
    (folder / "IM0001").write_text("no slice")
    with pytest.raises(
        UserError, match=r"IM0001: this is no DICOM slice.*move it out of the series'"
    ):
        read_grid(folder)


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
        ({"PixelSpacing": [-0.8, 0.7]}, "PixelSpacing or HighBit is none of a CT"),
        ({"HighBit": 14}, "PixelSpacing or HighBit is none of a CT"),
        ({"ConvolutionKernel": "LUNG"}, "4 slices are of 2 series or reconstructions"),
        ({"RescaleIntercept": "1e8"}, "none of a scan"),
        ({"Modality": "SR"}, "Modality is 'SR', and only 'CT' is read; move it out of the folder"),
        ({"PixelSpacing": [0.7, 0.9]}, "not those of"),
        ({"Columns": 7}, "not those of"),
        ({"SeriesInstanceUID": "1.2.3"}, "4 slices are of 2 series"),
        ({"ImagePositionPatient": [-100, 50, 23.9]}, "not evenly spaced"),
        ({"RescaleSlope": "1e9"}, "none of a scan"),
        ({"PixelData": b"12"}, "no DICOM slice that can be read"),
        ({"RescaleSlope": "0"}, "none of a scan"),
    ],
)
def test_read_grid_invalid_slice_is_refused(tmp_path, fields, message):
    folder = write_series(tmp_path / "scan", HU)
    edited(folder, 2, **fields)
    with pytest.raises(UserError, match=message):
        read_volume(folder)


def test_read_grid_missing_slice_is_refused(tmp_path):
    folder = write_series(tmp_path / "scan", HU)
    gone = next(p for p in folder.iterdir() if pydicom.dcmread(p).InstanceNumber == 2)
    gone.unlink()
    with pytest.raises(UserError, match=r"2\.5 to 5 mm apart.*Is one missing"):
        read_grid(folder)


def test_read_grid_too_many_or_large_files_are_refused_unopened(tmp_path, monkeypatch):
    folder = write_series(tmp_path / "scan", HU)
    with (folder / "large").open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(UserError, match=r"large: a slice of more than 16777216 bytes"):
        read_grid(folder)
    monkeypatch.setattr("semilung.data.io.dicom.series.MAX_SLICES", 4)
    with pytest.raises(UserError, match="5 files are no series, the limit is 4"):
        read_grid(folder)


def test_read_grid_one_slice_or_none_is_refused(tmp_path):
    (tmp_path / "one").mkdir()
    real_slice().save_as(tmp_path / "one" / "a.dcm")
    with pytest.raises(UserError, match="holds one slice"):
        read_grid(tmp_path / "one")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="a folder without DICOM slices"):
        read_grid(tmp_path / "none")
    with pytest.raises(UserError, match="and the folder of a DICOM series"):
        read_grid(tmp_path / "one" / "a.dcm")


@pytest.mark.parametrize(("off_mm", "even"), [(0.2, True), (0.35, False)])
def test_read_grid_uneven_slices_are_refused_beyond_the_tolerance(tmp_path, off_mm, even):
    folder = write_series(tmp_path / "scan", HU)
    path = next(p for p in folder.iterdir() if pydicom.dcmread(p).InstanceNumber == 2)
    slice_ = pydicom.dcmread(path)
    slice_.ImagePositionPatient = [-100, 50, 22.5 + off_mm]
    slice_.save_as(path)
    with nullcontext() if even else pytest.raises(UserError, match="not evenly spaced"):
        assert read_grid(folder).affine[2, 2] == 2.5


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(tmp_path):
    hu = np.zeros((3, 3, 30), int)
    folder = write_series(tmp_path / "scan", hu, spacing_mm=(1, 1, 0.625))
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.ImagePositionPatient = [round(float(n), 1) for n in slice_.ImagePositionPatient]
        slice_.save_as(path)
    assert read_grid(folder).affine[2, 2] == pytest.approx(0.625, abs=0.01)


@pytest.mark.parametrize("degrees", [4, 20])
def test_read_grid_of_a_tilted_series_is_sheared_as_it_lies(tmp_path, degrees):
    tilt = Rotation.from_euler("x", degrees, degrees=True).as_matrix()[:2]
    folder = write_series(tmp_path / "scan", HU, orientation=tilt)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        z = float(slice_.ImagePositionPatient[2])
        slice_.ImagePositionPatient = [-100, 50, z]
        slice_.save_as(path)
    with pytest.warns(UserWarning, match=rf"sheared by {degrees}\.0 degrees .*gantry tilted"):
        header = read_grid(folder)
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    columns = np.array([[-0.7, 0, 0], [0, -0.8 * cosine, -0.8 * sine], [0, 0, 2.5]])
    # the step of these slices is as long as their distance was before the positions were set
    columns[2] *= cosine
    np.testing.assert_allclose(header.affine[:3, :3].T, columns, atol=1e-6)
    product = np.prod(spacing_of(header.affine))
    assert product == pytest.approx(abs(np.linalg.det(header.affine)))


def test_read_grid_deflated_file_is_refused(tmp_path):
    for name in "ab":
        shutil.copy(get_testdata_file("image_dfl.dcm"), tmp_path / f"{name}.dcm")
    with pytest.raises(UserError, match="deflated DICOM is not read"):
        read_grid(tmp_path)


def test_read_grid_pixels_without_decoder_are_refused(tmp_path, monkeypatch):
    decoder = pydicom.pixels.decoders.JPEGLosslessSV1Decoder
    monkeypatch.setattr(decoder, "_available", {})
    folder = write_series(tmp_path / "scan", HU)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 a lossless JPEG"])
        slice_["PixelData"].VR, slice_["PixelData"].is_undefined_length = "OB", True
        slice_.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
        slice_.save_as(path)
    with pytest.raises(UserError, match=r"compressed \(JPEG Lossless.*no decoder.*semilung\[dicom"):
        read_grid(folder)


def test_messages_never_identify_the_patient(tmp_path, caplog):
    """A damaged length lets one value run into the next ones."""
    folder = write_series(tmp_path / "scan", HU, PatientName="SECRET^JOHN", PatientID="SECRET")
    target = min(folder.iterdir())
    raw = target.read_bytes()
    assert raw.count(b"SECRET") == 2
    messages = []
    for tag in (b"\x08\0\x60\0CS", b"\x28\0\x30\0DS", b"\x20\0\x32\0DS", b"\x08\0\x70\0LO"):
        for high in (0, 1, 4):
            at = raw.index(tag) + len(tag)
            target.write_bytes(raw[:at] + bytes([200, high]) + raw[at + 2 :])
            with warnings.catch_warnings(record=True) as warned:
                try:
                    read_volume(folder)
                except UserError as error:
                    messages.append(str(error))
            messages += [str(warning.message) for warning in warned]
    assert len(messages) >= 8
    assert not [text for text in [*messages, caplog.text] if "SECRET" in text or "\x10" in text]


def test_read_volume_silences_the_log_of_pydicom(tmp_path, caplog):
    folder = write_series(tmp_path / "scan", HU, SeriesInstanceUID="1.2.SECRET")
    caplog.clear()
    assert read_volume(folder).shape == SHAPE
    assert caplog.text == ""
    pydicom.dcmread(min(folder.iterdir())).SeriesInstanceUID  # noqa: B018
    assert "SECRET" in caplog.text


def test_read_volume_in_threads_restores_warning_filters(tmp_path):
    folders = [write_series(tmp_path / str(n), HU) for n in range(12)]
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_volume, folders * 3))
    assert warnings.filters == before


def test_read_grid_without_pydicom_names_the_package(tmp_path, monkeypatch):
    folder, known = write_series(tmp_path / "scan", HU), builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pydicom"):
            raise ModuleNotFoundError(name)
        return known(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'semilung\[dicom\]'"):
        read_grid(folder)


@pytest.mark.parametrize("cases", [60, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_read_volume_damaged_series_is_read_or_refused(tmp_path, cases):
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
