"""Volumes as they are written in each format, read by SimpleITK and by the project's readers."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.transform import Rotation

from semilung.data.io.opened_volume import LPS_TO_RAS
from semilung.data.io.volume import WRITERS, read_volume, write_volume
from semilung.types import UserError

SHAPE = (5, 6, 7)
RNG = np.random.default_rng(0)


def grid(turn, edges=(0.7, 0.8, 2.5), origin=(-101.25, 33.1, 1 / 3)):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.asarray(turn) * edges, origin
    return affine


GRIDS = {
    "ras": grid(np.eye(3)),
    "lps": grid(np.diag([-1, -1, 1])),
    "permuted": grid(np.eye(3)[:, [2, 0, 1]]),
    "feet_first": grid(np.diag([1, -1, -1])),
    "oblique": grid(Rotation.from_euler("xyz", [10, -20, 35], degrees=True).as_matrix()),
    "left_handed": grid(np.diag([-1, 1, 1])),
}
TILTED = grid(np.diag([-1, -1, 1]))
TILTED[1, 2] = 2.5 * np.tan(np.radians(25))


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_write_volume_is_read_by_simpleitk_with_every_voxel_in_place(tmp_path, suffix, name, dtype):
    data = RNG.integers(0, 200, SHAPE).astype(dtype)
    path = tmp_path / f"a{suffix}"
    write_volume(path, data, GRIDS[name])
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, data)
    assert sitk.GetArrayFromImage(image).dtype == dtype
    for voxel in ((0, 0, 0), (4, 5, 6), (1, 0, 5)):
        lps = image.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(lps, (LPS_TO_RAS @ GRIDS[name] @ [*voxel, 1])[:3], atol=1e-3)


@pytest.mark.filterwarnings("ignore:.*sheared by 25.0 degrees")
@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("name", [*GRIDS, "sheared"])
def test_write_volume_is_read_back_as_it_was(tmp_path, suffix, name):
    data = RNG.random(SHAPE).astype(np.float32)
    affine = GRIDS.get(name, TILTED)
    write_volume(tmp_path / f"a{suffix}", data, affine)
    volume = read_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)


@pytest.mark.parametrize("suffix", WRITERS)
def test_write_volume_twice_gives_the_same_bytes_and_names_no_person(tmp_path, suffix):
    for name in ("anna", "bert"):
        write_volume(tmp_path / f"{name}{suffix}", np.ones(SHAPE, bool), GRIDS["lps"])
    one, two = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("anna", "bert"))
    unpacked = gzip.decompress if suffix.endswith("gz") else bytes
    assert unpacked(one) == unpacked(two)
    assert b"anna" not in unpacked(one)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr", "a.img", "a"])
def test_write_volume_under_a_suffix_that_is_not_written_lists_the_others(tmp_path, name):
    with pytest.raises(UserError, match=r"ends in \.nii\.gz, \.nii, \.mha, \.nrrd"):
        write_volume(tmp_path / name, np.ones(SHAPE, np.uint8), np.eye(4))
    assert list(tmp_path.iterdir()) == []
