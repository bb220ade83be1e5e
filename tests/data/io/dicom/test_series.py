"""DICOM series: HU and grid agree with ITK."""

import os
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_series import edited, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from semilung.data import DataConfig, Volume, check_manifest, prepare, read_manifest
from semilung.data.anatomy.anatomy_manifest import _is_done
from semilung.data.cache.store import open_entry
from semilung.data.io.same_grid import same_grid
from semilung.data.io.volume import files_of, read_grid, read_volume, stem_of, to_ras, write_volume

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
def test_read_volume_series_agrees_with_itk(tmp_path, turn, spacing, origin):
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


def test_read_volume_series_by_hand_has_the_expected_voxels(tmp_path):
    folder = write_series(tmp_path / "scan", HU)
    volume = read_volume(folder)
    assert volume.data.dtype == np.int16
    assert volume.shape == SHAPE
    np.testing.assert_allclose(
        volume.affine[:3], [[-0.7, 0, 0, 100], [0, -0.8, 0, -50], [0, 0, 2.5, 20]]
    )
    assert stem_of(folder) == "scan"
    assert len(files_of(folder)) == 4


def test_read_volume_series_has_the_grid_of_its_nifti(tmp_path):
    folder = write_series(tmp_path / "scan", HU, orientation=np.array([[0, 1.0, 0], [0, 0, -1]]))
    sitk.WriteImage(itk(folder), str(tmp_path / "a.nii.gz"))
    ours, nifti = to_ras(read_volume(folder)), to_ras(read_volume(tmp_path / "a.nii.gz"))
    assert same_grid(ours, nifti)
    np.testing.assert_array_equal(ours.data, nifti.data)


def test_read_volume_slices_have_separate_scales(tmp_path):
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


@pytest.mark.parametrize("junk", [0, 0b1010])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [True, False])
def test_read_volume_stored_types_are_decoded(tmp_path, signed, bits, junk):
    folder = write_series(
        tmp_path / "scan",
        HU,
        signed=signed,
        bits=bits,
        junk=junk if bits == 12 else 0,
        intercept=0 if signed else -1024,
    )
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.data, HU)
    if not junk:  # of which ITK makes what it likes
        np.testing.assert_array_equal(volume.data, sitk.GetArrayFromImage(itk(folder)).T)


def test_read_volume_metal_beyond_int16_is_kept(tmp_path):
    hu = HU.copy()
    hu[1, 2, 3] = 40_000
    volume = read_volume(write_series(tmp_path / "scan", hu, signed=False))
    assert volume.data.dtype == np.int32
    np.testing.assert_array_equal(volume.data, hu)


@pytest.mark.parametrize(
    "syntax",
    ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "RLELossless", "ExplicitVRLittleEndian"],
)
def test_read_volume_compressed_pixels_are_decoded(tmp_path, syntax):
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


def test_prepare_cohort_of_series(tmp_path):
    hu = np.full((24, 24, 24), -1000)
    hu[4:20, 4:20] = -800
    folder = write_series(tmp_path / "scan", hu, spacing_mm=(2, 2, 2))
    (tmp_path / "m.csv").write_text("case,patient,image,role\na,p,scan,unlabelled\n")
    assert check_manifest(tmp_path / "m.csv") == []
    config = DataConfig(manifest=str(tmp_path / "m.csv"), cache=str(tmp_path / "cache"))
    cases = read_manifest(tmp_path / "m.csv")
    (first,) = prepare(cases, config)
    before = open_entry(first.files["image"]).meta["sha256"]
    last = max(folder.iterdir())
    state = last.stat()
    last.write_bytes(last.read_bytes()[:-1] + b"\1")
    os.utime(last, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert prepare(cases, config, verify=True)[0].files == first.files
    assert open_entry(first.files["image"]).meta["sha256"] != before
    assert prepare(cases, config)[0].files == first.files
    edited(folder, 3, RescaleIntercept=-1000)
    assert prepare(cases, config)[0].files != first.files


def test_add_anatomy_series_with_a_newer_slice_is_redone(tmp_path):
    folder = write_series(tmp_path / "scan", HU)
    target = tmp_path / "anatomy.nii.gz"
    write_volume(target, np.zeros(SHAPE, np.uint8), read_grid(folder).affine)
    assert _is_done(folder, target)
    last = max(folder.iterdir())
    later = target.stat().st_mtime + 5
    os.utime(last, (later, later))
    assert not _is_done(folder, target)


def test_check_manifest_mask_in_another_axis_order_is_accepted(tmp_path):
    hu = np.full((24, 25, 26), -1000)
    hu[4:20, 4:20] = -800
    folder = write_series(tmp_path / "scan", hu, spacing_mm=(2, 2, 2))
    nodule = np.zeros(hu.shape, np.uint8)
    nodule[8:12, 9:13, 10:14] = 1
    mask = to_ras(Volume(nodule, read_grid(folder).affine))
    write_volume(tmp_path / "mask.nii.gz", mask.data.swapaxes(0, 1), mask.affine[:, [1, 0, 2, 3]])
    (tmp_path / "m.csv").write_text("case,patient,image,role,mask\na,p,scan,labelled,mask.nii.gz\n")
    assert check_manifest(tmp_path / "m.csv") == []
    config = DataConfig(
        manifest=str(tmp_path / "m.csv"), cache=str(tmp_path / "cache"), spacing_mm=None
    )
    (made,) = prepare(read_manifest(tmp_path / "m.csv"), config)
    assert open_entry(made.files["mask"]).read().sum() == 64
    shifted = mask.affine.copy()
    shifted[0, 3] += 1.0
    write_volume(tmp_path / "mask.nii.gz", mask.data, shifted)
    (issue,) = check_manifest(tmp_path / "m.csv")
    assert "affine is not the image's" in issue.message
