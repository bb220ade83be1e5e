from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semilung.data.io.grid import Grid
from semilung.data.io.resample import resample_onto
from semilung.data.io.same_grid import same_grid
from semilung.data.io.volume import Volume, read_grid, read_volume, to_ras, write_volume
from semilung.types import UserError

RNG = np.random.default_rng(0)


def saved(path, shape=(4, 5, 6), affine=None, dtype=np.int16):
    data = RNG.integers(-1000, 1000, shape).astype(dtype)
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return data


def test_write_volume_is_read_back(tmp_path):
    affine = np.array([[0, -0.7, 0, 5], [0.7, 0, 0, -3], [0, 0, 2.5, 1], [0, 0, 0, 1]])
    data = RNG.integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    write_volume(tmp_path / "new" / "a.nii.gz", data, affine)
    volume = read_volume(tmp_path / "new" / "a.nii.gz")
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    assert volume.data.dtype == np.int16
    assert volume.spacing_mm == pytest.approx((0.7, 0.7, 2.5))
    assert read_grid(tmp_path / "new" / "a.nii.gz").shape == (4, 5, 6)


def test_write_volume_has_no_identity_and_leaves_no_temporary(tmp_path):
    write_volume(tmp_path / "a.nii.gz", np.ones((2, 2, 2), bool), np.eye(4))
    header = nib.load(tmp_path / "a.nii.gz").header
    assert header["descrip"] == header["db_name"] == header["intent_name"] == b""
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_write_volume_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_volume(path, np.ones((2, 2, 2), np.uint8), np.eye(4))
    with pytest.raises(Exception, match="shape"):
        write_volume(path, np.ones((2, 2, 2), np.uint8), np.eye(3))
    assert read_volume(path).data.sum() == 8
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_read_volume_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"missing\.nii.*no such file"):
        read_volume(tmp_path / "missing.nii")


def test_read_volume_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no reader.*\.nii"):
        read_volume(tmp_path / "a.jpg")


def test_read_volume_empty_file_is_refused(tmp_path):
    (tmp_path / "a.nii").touch()
    with pytest.raises(UserError, match="empty"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_read_volume_garbage_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"no volume at all" * 50)
    with pytest.raises(UserError, match="header cannot be read"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_read_volume_truncated_file_is_refused(tmp_path, name):
    saved(tmp_path / name, (30, 30, 30))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="truncated"):
        read_volume(tmp_path / name)


def test_read_volume_truncated_header_is_refused(tmp_path):
    saved(tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:30])
    with pytest.raises(UserError, match="header cannot be read"):
        read_volume(tmp_path / "a.nii.gz")


def test_read_volume_four_dimensions_are_refused_and_a_trailing_1_dropped(tmp_path):
    saved(tmp_path / "a.nii", (4, 5, 6, 2))
    with pytest.raises(UserError, match="3D"):
        read_volume(tmp_path / "a.nii")
    saved(tmp_path / "b.nii", (4, 5, 6, 1))
    assert read_volume(tmp_path / "b.nii").shape == (4, 5, 6)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "finite"), (0.0, "singular")])
def test_read_volume_invalid_affine_is_refused(tmp_path, value, word):
    image = nib.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4))
    image.header["sform_code"], image.header["vox_offset"] = 1, 352
    image.header["srow_x"] = [value, 0, 0, 0]
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(4 + 54))
    with pytest.raises(UserError, match=word):
        read_volume(tmp_path / "a.nii")


def test_read_volume_bomb_is_refused_by_its_header(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((30000, 30000, 30000))
    header["vox_offset"] = 352
    with gzip.open(tmp_path / "a.nii.gz", "wb") as stream:
        stream.write(header.binaryblock + bytes(100))
    with pytest.raises(UserError, match="limit"):
        read_volume(tmp_path / "a.nii.gz")


def test_resample_onto_linear_ramp_is_exact():
    # v(x, y, z) = 3x + 2y - z + 7 in millimetres: linear sampling is exact, on any grid within.
    affine = np.array([[-0.5, 0, 0, 10], [0, 0, 1.5, 2], [0, -0.8, 0, 30], [0, 0, 0, 1]])
    index = np.stack(np.meshgrid(*map(np.arange, (30, 31, 32)), indexing="ij"), -1)
    ramp = (index @ affine[:3, :3].T + affine[:3, 3]) @ [3, 2, -1] + 7
    target = np.diag([0.9, 1.1, 0.7, 1.0])
    target[:3, 3] = [-3, 4, 8]
    out = resample_onto(Volume(ramp, affine), (12, 13, 14), target, order=1, fill=np.nan)
    index = np.stack(np.meshgrid(*map(np.arange, (12, 13, 14)), indexing="ij"), -1)
    expected = (index @ target[:3, :3].T + target[:3, 3]) @ [3, 2, -1] + 7
    np.testing.assert_allclose(out.data, expected, atol=1e-9)


def test_resample_onto_rounds_integers():
    volume = Volume(np.array([0, 1]).reshape(2, 1, 1).astype(np.int16), np.eye(4))
    target = np.eye(4)
    target[0, 3] = 0.75
    assert resample_onto(volume, (1, 1, 1), target, order=1, fill=0).data.item() == 1


def test_resample_onto_fills_half_a_voxel_beyond_the_volume():
    volume = Volume(np.full((2, 2, 2), 5, np.int16), np.eye(4))
    target = np.diag([0.4, 1, 1, 1])
    target[0, 3] = -0.8
    out = resample_onto(volume, (8, 2, 2), target, order=1, fill=-9).data[:, 0, 0]
    # Positions -0.8 -0.4 0 0.4 0.8 1.2 1.6 2.0: the volume covers -0.5 to 1.5.
    assert out.tolist() == [-9, 5, 5, 5, 5, 5, -9, -9]


def test_resample_onto_oblique_grid_agrees_with_a_rotation_by_hand():
    data = RNG.normal(size=(5, 5, 5)).astype(np.float32)
    quarter = np.array([[0, -1, 0, 4], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    out = resample_onto(Volume(data, np.eye(4)), (5, 5, 5), quarter, order=1, fill=0).data
    np.testing.assert_allclose(out, np.rot90(data, 1, (1, 0)), atol=1e-6)


@given(
    axes=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    spacing=st.tuples(*[st.floats(0.4, 3)] * 3),
)
@settings(max_examples=30, deadline=None)
def test_to_ras_and_back_is_identity(axes, signs, spacing):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[:, list(axes)] * signs) * spacing
    affine[:3, 3] = [3, -7, 11]
    volume = Volume(RNG.integers(0, 255, (4, 5, 6)).astype(np.uint8), affine)
    ras = to_ras(volume)
    assert nib.aff2axcodes(ras.affine) == ("R", "A", "S")
    back = resample_onto(ras, volume.shape, volume.affine, order=0, fill=0)
    np.testing.assert_array_equal(back.data, volume.data)


def test_same_grid_distinguishes_a_shift_from_rounding():
    a = Grid((10, 10, 10), np.diag([0.5, 0.5, 2, 1]))
    shifted, rounded = a.affine.copy(), a.affine.copy()
    shifted[0, 3] += 0.5
    rounded[0, 3] += 1e-4
    assert not same_grid(a, Grid(a.shape, shifted))
    assert same_grid(a, Grid(a.shape, rounded))
    assert not same_grid(a, Grid((10, 10, 11), a.affine))
