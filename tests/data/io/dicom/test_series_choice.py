"""DICOM folders of several series: the only CT volume is read, or all are listed."""

import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_series import edited, real_slice, write_series

from semilung.data.io.volume import read_grid, read_volume
from semilung.types import UserError

SHAPE = (6, 5, 4)
HU = np.random.default_rng(0).integers(-1024, 1200, SHAPE)
REPORT = "1.2.840.10008.5.1.4.1.1.88.67"


def merged(folder, *others):
    """Put other series' files into a folder."""
    for number, other in enumerate(others):
        for path in other.iterdir():
            shutil.move(path, folder / f"s{number}_{path.name}")
    return folder


def volume(folder, number, **fields):
    return write_series(
        folder,
        HU + number,
        SeriesNumber=number,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        **fields,
    )


def localiser(folder, count=2):
    return write_series(
        folder, HU[..., :count], SeriesNumber=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        orientation=np.array([[1.0, 0, 0], [0, 0, -1.0]]),
    )  # fmt: skip


def report(folder):
    """A structured report without pixels."""
    folder.mkdir()
    made = real_slice()
    made.Modality, made.SeriesNumber, made.SeriesInstanceUID = "SR", 999, pydicom.uid.generate_uid()
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = REPORT
    for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient",
                 "PixelSpacing", "BitsAllocated", "ConvolutionKernel", "ImageType"):  # fmt: skip
        if name in made:
            delattr(made, name)
    made.save_as(folder / "report.dcm")
    return folder


def picture(folder):
    """A dose sheet as a colour picture, of modality CT."""
    folder.mkdir()
    made = real_slice()
    made.SeriesNumber, made.SeriesInstanceUID = 501, pydicom.uid.generate_uid()
    made.ImageType, made.SamplesPerPixel = ["DERIVED", "SECONDARY", "SCREEN SAVE"], 3
    del made.ImagePositionPatient
    made.save_as(folder / "dose.dcm")
    return folder


@pytest.mark.parametrize(
    "asides", [(localiser,), (report,), (picture,), (localiser, report, picture)]
)
def test_read_volume_single_ct_next_to_what_is_none_is_evident(tmp_path, asides):
    folder = volume(tmp_path / "scan", 3)
    merged(folder, *(make(tmp_path / make.__name__) for make in asides))
    np.testing.assert_array_equal(read_volume(folder).data, HU + 3)


def test_read_volume_two_reconstructions_are_listed_and_one_is_chosen(tmp_path):
    folder = volume(tmp_path / "scan", 3, ConvolutionKernel="LUNG", SliceThickness="2.5")
    merged(
        folder,
        volume(tmp_path / "b", 4, ConvolutionKernel=["Br40d", "3"]),
        localiser(tmp_path / "c"),
    )
    with pytest.raises(UserError, match="10 slices are of 3 series or reconstructions") as error:
        read_volume(folder)
    lines = str(error.value).splitlines()
    assert "--series 3" in lines[0]
    assert lines[1].startswith("  series 1: 'CT', 2 slices, pixels of 0.8 x 0.7 mm")
    assert lines[1].endswith("ORIGINAL\\PRIMARY\\LOCALIZER")
    assert "series 3: 'CT', 4 slices" in lines[2]
    assert "thickness 2.5 mm, kernel 'LUNG'" in lines[2]
    assert "series 4: 'CT', 4 slices" in lines[3]
    assert "kernel ['Br40d', '3']" in lines[3]
    for number in (3, 4):
        np.testing.assert_array_equal(read_volume(folder, series=str(number)).data, HU + number)
    with pytest.raises(UserError, match=r"no series '7' in it; choose one of:\n  series 1"):
        read_volume(folder, series="7")


def test_read_volume_series_of_one_number_get_labels_of_their_own(tmp_path):
    folder = volume(tmp_path / "scan", 3, ConvolutionKernel="A")
    merged(folder, write_series(tmp_path / "b", HU + 9, SeriesNumber=3, ConvolutionKernel="B"))
    with pytest.raises(UserError, match=r"series 3\.1: .*\n.*series 3\.2: "):
        read_volume(folder)
    read = [read_volume(folder, series=label).data for label in ("3.1", "3.2")]
    assert sorted(int((data - HU)[0, 0, 0]) for data in read) == [3, 9]


def test_read_volume_listing_never_names_the_patient(tmp_path):
    names = ("PatientName", "PatientID", "SeriesDescription", "StudyDescription", "ProtocolName")
    secret = dict.fromkeys(names, "SECRET") | {"PatientBirthDate": "19700101"}
    folder = volume(tmp_path / "scan", 3, **secret)
    merged(folder, volume(tmp_path / "b", 4, **secret))
    edited(folder, 0, ImageType=["ORIGINAL", "PRIMARY", "SECRET"])
    with pytest.raises(UserError) as error:
        read_volume(folder)
    assert "SECRET" not in str(error.value)
    assert "1970" not in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [{"Modality": None, "SeriesInstanceUID": None}, {"SeriesInstanceUID": "1.2.3"},
     {"Modality": "", "SeriesInstanceUID": "1.2.3"}],
)  # fmt: skip
def test_read_volume_slice_that_lost_its_series_does_not_vanish(tmp_path, fields):
    folder = write_series(tmp_path / "scan", HU)
    last = max(folder.iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber)
    edited(folder, sorted(folder.iterdir()).index(last), **fields)
    with pytest.raises(UserError, match="4 slices are of 2 series"):
        read_volume(folder)


def test_read_volume_folder_without_a_ct_lists_what_it_holds(tmp_path):
    folder = merged(localiser(tmp_path / "scan"), report(tmp_path / "r"))
    with pytest.raises(
        UserError, match=r"no CT volume in it; it holds:\n  series 1: .*\n  series 999: 'SR'"
    ):
        read_volume(folder)


def test_read_volume_folder_of_folders_says_what_lies_below(tmp_path):
    for name in ("b/lung", "a"):
        (tmp_path / "study" / name).mkdir(parents=True)
        volume(tmp_path / "study" / name, 3)
    (tmp_path / "study" / "notes").mkdir()
    (tmp_path / "study" / "loop").symlink_to(tmp_path / "study")
    with pytest.raises(
        UserError, match=r"2 below it hold some; give one of these:\n  a\n  b/lung$"
    ):
        read_grid(tmp_path / "study")


def test_read_volume_series_of_a_file_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(HU.astype(np.int16), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(UserError, match="leave --series out"):
        read_volume(tmp_path / "a.nii", series="3")
