"""Folders as hospitals leave them: each gives the right volume or one clear sentence."""

import shutil

import numpy as np
import pydicom
import pytest
from dicom_series import edited, write_series
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from semilung.data.io.dicom.series_path import folder_and_series, series_path
from semilung.data.io.volume import files_of, read_grid, read_volume, stem_of
from semilung.data.manifest.cases import Case
from semilung.data.manifest.merge import uids_of
from semilung.types import UserError

SHAPE = (40, 30, 4)
HU = np.random.default_rng(0).integers(-1024, 1200, SHAPE)
AXIAL = ["ORIGINAL", "PRIMARY", "AXIAL"]


@pytest.fixture
def folder(tmp_path):
    return write_series(tmp_path / "scan", HU, ImageType=AXIAL, SeriesNumber=3)


def by_position(folder):
    return sorted(folder.iterdir(), key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2])


def localiser_in_the_series(folder):
    slice_ = pydicom.dcmread(by_position(folder)[0])
    slice_.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    slice_.ImageOrientationPatient, slice_.SOPInstanceUID = [1, 0, 0, 0, 0, -1], "1.2.9"
    slice_.save_as(folder / "scout.dcm")


def report_in_the_folder(folder):
    slice_ = pydicom.dcmread(by_position(folder)[0])
    slice_.Modality, slice_.SeriesInstanceUID, slice_.SeriesNumber = "SR", "1.2.8", 99
    del slice_.PixelData, slice_.ImagePositionPatient
    slice_.save_as(folder / "dose.dcm")


def copies_of_slices(folder):
    for path in by_position(folder)[::3]:
        shutil.copy(path, folder / f"copy of {path.name}")


def junk(folder):
    for name in ("autorun.inf", "viewer.exe", "notes.docx", "LICENSE", ".DS_Store", "a.dcm.bak"):
        (folder / name).write_bytes(b"MZ\0junk" * 30)


@pytest.mark.parametrize(
    "spoil", [localiser_in_the_series, report_in_the_folder, copies_of_slices, junk]
)
def test_read_volume_of_a_folder_with_asides_is_the_series(folder, spoil):
    spoil(folder)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.data, HU)
    np.testing.assert_allclose(np.diag(volume.affine), (-0.7, -0.8, 2.5, 1))


def missing(folder):
    by_position(folder)[1].unlink()


def truncated(folder):
    path = by_position(folder)[2]
    path.write_bytes(path.read_bytes()[:-700])


def two_phases(folder):
    for path in by_position(folder):
        slice_ = pydicom.dcmread(path)
        slice_.PixelData = bytes(len(slice_.PixelData))
        slice_.save_as(folder / f"b{path.name}")


def no_scale(folder):
    edited(folder, 1, RescaleSlope="0")


def turned(folder):
    edited(folder, 1, ImageOrientationPatient=[0, 1, 0, -1, 0, 0])


def uneven(folder):
    edited(folder, 0, ImagePositionPatient=[-100, 50, 21.3])


def other_pixels(folder):
    edited(folder, 1, PixelSpacing=[0.9, 0.9])


def junk_named_as_a_slice(folder):
    (folder / "IM0001").write_bytes(b"junk")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (missing, "not evenly spaced.*Is one missing"),
        (truncated, "truncated: it holds [0-9]+ of the 2400 bytes of its 1 x 30 x 40 pixels"),
        (two_phases, "slices of the same place with different pixels"),
        (no_scale, "slope or intercept is none of a scan"),
        (turned, "orientation are not those of"),
        (uneven, "not evenly spaced"),
        (other_pixels, "spacing or orientation are not those of"),
        (junk_named_as_a_slice, "IM0001: this is no DICOM slice"),
    ],
)
def test_read_volume_of_a_malformed_folder_is_one_sentence(folder, spoil, sentence):
    spoil(folder)
    with pytest.raises(UserError, match=sentence) as error:
        read_volume(folder)
    assert "\n" not in str(error.value)


def padded(folder, value):
    """State a padding value, as unsigned, which is how many files have it."""
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.add_new("PixelPaddingValue", "US", value % 2**16)
        slice_.save_as(path)
    return folder


def test_read_volume_padding_denser_than_tissue_becomes_air(tmp_path):
    hu = HU.copy()
    hu[:5] = 30_000
    folder = padded(write_series(tmp_path / "scan", hu), 31_024)
    expected = hu.copy()
    expected[:5] = -1024
    np.testing.assert_array_equal(read_volume(folder).data, expected)


@pytest.mark.parametrize("padding", [1024, -976])
def test_read_volume_padding_that_may_be_tissue_or_is_below_air_is_kept(tmp_path, padding):
    hu = HU.copy()
    hu[0] = -2000
    folder = padded(write_series(tmp_path / "scan", hu), padding)
    np.testing.assert_array_equal(read_volume(folder).data, hu)


def multi_frame(folder, hu, *, order=(2, 0, 3, 1), shared_scale=True):
    """Write an enhanced file whose frames are out of order."""
    source = write_series(folder.with_name("single"), hu, ImageType=AXIAL)
    slices = [pydicom.dcmread(path) for path in by_position(source)]
    made = pydicom.dcmread(by_position(source)[0])
    shared, frames = Dataset(), []
    scale = Dataset()
    scale.RescaleSlope, scale.RescaleIntercept = 1, -1024
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = made.PixelSpacing, 2.5
    shared.PixelMeasuresSequence = Sequence([measures])
    for one in (slices[k] for k in order):
        frame, place, turn = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = one.ImagePositionPatient
        turn.ImageOrientationPatient = one.ImageOrientationPatient
        frame.PlanePositionSequence = Sequence([place])
        frame.PlaneOrientationSequence = Sequence([turn])
        frame.PixelValueTransformationSequence = Sequence([scale])
        frames.append(frame)
    made.NumberOfFrames = len(frames)
    made.PixelData = b"".join(slices[k].PixelData for k in order)
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                 "RescaleSlope", "RescaleIntercept"):  # fmt: skip
        delattr(made, name)
    folder.mkdir()
    made.save_as(folder / "volume.dcm")
    return folder


def test_read_volume_of_an_enhanced_file_has_its_frames_in_order(tmp_path):
    volume = read_volume(multi_frame(tmp_path / "enhanced", HU))
    np.testing.assert_array_equal(volume.data, HU)
    np.testing.assert_allclose(volume.affine, read_grid(tmp_path / "single").affine)


def test_read_volume_of_an_enhanced_file_that_lacks_frames_is_one_sentence(tmp_path):
    folder = multi_frame(tmp_path / "enhanced", HU)
    edited(folder, 0, NumberOfFrames=5)
    with pytest.raises(UserError, match="another number of frames than it describes"):
        read_volume(folder)


def test_read_volume_of_real_enhanced_file_equals_its_slices(real_data, tmp_path):
    source = real_data / "formats/enhanced_ct_multiframe"
    for name in ("volume", "slices"):
        (tmp_path / name).mkdir()
    shutil.copy(source / "volume.dcm", tmp_path / "volume")
    for path in source.glob("slice*.dcm"):
        shutil.copy(path, tmp_path / "slices")
    enhanced, classic = read_volume(tmp_path / "volume"), read_volume(tmp_path / "slices")
    np.testing.assert_array_equal(enhanced.data, classic.data)
    np.testing.assert_allclose(enhanced.affine, classic.affine, atol=1e-6)


def test_read_volume_of_real_lossless_jpeg_is_a_chest(real_data):
    volume = read_volume(real_data / "formats/jpeg_lossless_chest")
    assert volume.shape == (512, 512, 6)
    assert volume.spacing_mm == pytest.approx((0.703125, 0.703125, 1.25))
    assert -950 < np.median(volume.data[200:260, 100:180]) < 100


@pytest.mark.parametrize("codec", ["JPEG2000Lossless", "JPEGLSLossless"])
def test_read_volume_of_further_lossless_compressions_is_the_volume(folder, codec):
    gdcm = pytest.importorskip("gdcm")
    kind = {"JPEG2000Lossless": gdcm.TransferSyntax.JPEG2000Lossless,
            "JPEGLSLossless": gdcm.TransferSyntax.JPEGLSLossless}[codec]  # fmt: skip
    for path in folder.iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(kind))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    assert pydicom.dcmread(next(folder.iterdir())).file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_volume(folder).data, HU)


def test_path_of_a_series_names_one_of_its_folder_everywhere(folder, tmp_path):
    other = write_series(tmp_path / "b", HU - 7, SeriesNumber=4, SeriesInstanceUID="1.2.3.4.5.6.7")
    for path in other.iterdir():
        shutil.move(path, folder / f"b{path.name}")
    path = series_path(folder, "4")
    assert path == folder.with_name("scan#4")
    np.testing.assert_array_equal(read_volume(path).data, HU - 7)
    assert read_grid(path).shape == SHAPE
    assert len(files_of(path)) == 8
    assert stem_of(path) == "scan#4"
    assert uids_of(Case("x", "x", path, "unlabelled"))[0] == "1.2.3.4.5.6.7"
    with pytest.raises(UserError, match="no series '5' in it"):
        read_volume(series_path(folder, "5"))
    with pytest.raises(UserError, match="no such file"):
        read_volume(tmp_path / "none#4")


def test_path_of_a_folder_whose_name_has_the_mark_is_the_folder(folder):
    marked = folder.rename(folder.with_name("scan#4"))
    assert folder_and_series(marked) == (marked, None)
    assert read_volume(marked).shape == SHAPE
