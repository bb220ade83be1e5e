"""Sheared grids (tilted gantry): read unchanged, measured on a right-angled grid."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from small_cohort import write_table

from semilung.data import DataConfig, prepare, read_manifest
from semilung.data.anatomy.anatomy_labels import label_anatomy
from semilung.data.cache.prepared_grid import straightened
from semilung.data.io.grid import spacing_of
from semilung.data.io.volume import Volume, read_grid, read_volume
from semilung.types import UserError

SHAPE = (40, 44, 30)
CENTRE_MM, RADIUS_MM = np.array([3.0, -2.0, 5.0]), 17.0


def sheared(degrees, spacing=(2.0, 2.0, 3.0)):
    """An affine whose slices move along y, its centre at 0 mm."""
    affine = np.diag([*spacing, 1.0])
    affine[1, 2] = spacing[2] * np.tan(np.radians(degrees))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def ball(affine):
    """A ball in mm, sampled on a grid."""
    at = np.moveaxis(np.indices(SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return np.linalg.norm(at - CENTRE_MM, axis=-1) < RADIUS_MM


@pytest.mark.parametrize("degrees", [2, -10, 25, 40])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_spacing_of_sheared_grid_multiplies_to_the_determinant(degrees, axes):
    affine = sheared(degrees)[:, [*axes, 3]]
    assert np.prod(spacing_of(affine)) == pytest.approx(abs(np.linalg.det(affine)), rel=1e-9)


def test_spacing_of_upright_grid_is_the_norm_to_the_last_bit():
    affine = np.diag([0.7, 0.8, 2.5, 1.0])[:, [2, 0, 1, 3]]
    assert spacing_of(affine) == tuple(np.linalg.norm(affine[:3, :3], axis=0))


@pytest.mark.parametrize("degrees", [-25, 10, 40])
def test_prepare_sheared_case_measures_a_ball_at_right_angles(tmp_path, degrees):
    affine = sheared(degrees)
    mask = ball(affine)
    hu = np.where(mask, 40, -850).astype(np.int16)
    for name, data in (("ct", hu), ("mask", mask.astype(np.uint8))):
        nib.save(nib.Nifti1Image(data, affine), tmp_path / f"{name}.nii")
    row = {"case": "c", "patient": "p", "image": "ct.nii", "role": "labelled", "mask": "mask.nii"}
    cases = read_manifest(write_table(tmp_path / "m.csv", [row]))
    config = DataConfig(cache=str(tmp_path / "cache"), spacing_mm=None, crop_to_lungs=False)
    with pytest.warns(UserWarning, match=f"sheared by {abs(degrees)}.0 degrees"):
        (item,) = prepare(cases, config, processes=0)
    axes = item.affine[:3, :3] / item.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    ready = item.read("mask")
    truth_mm3 = mask.sum() * abs(np.linalg.det(affine))
    assert ready.sum() * np.prod(item.spacing_mm) == pytest.approx(truth_mm3, rel=0.03)
    assert float(item.diameters_mm[0]) == pytest.approx(2 * RADIUS_MM, rel=0.02)
    centre = item.affine @ [*ndimage.center_of_mass(ready), 1]
    np.testing.assert_allclose(centre[:3], CENTRE_MM, atol=0.5)
    extent = (np.ptp(np.argwhere(ready), axis=0) + 1) * item.spacing_mm
    np.testing.assert_allclose(extent, 2 * RADIUS_MM, atol=2 * max(item.spacing_mm))
    inside = item.read("image")[ready > 0]
    assert (inside > -400).mean() > 0.95


def test_straightened_upright_volume_is_the_very_same():
    volume = Volume(np.zeros(SHAPE, np.int16), sheared(0.5))
    assert straightened(volume, fill=0) is volume


def test_straightened_volume_too_large_is_refused():
    shape = (3, 2**14, 2**14)
    volume = Volume(np.broadcast_to(np.int16(0), shape), sheared(44, (0.7, 0.7, 0.7)))
    with pytest.raises(UserError, match="at right angles; the limit is"):
        straightened(volume, fill=0)


def test_label_anatomy_of_sheared_volume_is_on_its_own_grid():
    affine = sheared(25)
    hu = np.where(ball(affine), 40, -850).astype(np.int16)
    assert label_anatomy(Volume(hu, affine)).shape == SHAPE


@pytest.mark.parametrize("degrees", [50, -60])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mhd"])
def test_read_grid_shear_of_no_gantry_is_refused_in_every_format(tmp_path, name, degrees):
    stored(tmp_path / name, degrees)
    with pytest.raises(UserError, match=rf"sheared by {abs(degrees)}\.0 degrees, more than a"):
        read_grid(tmp_path / name)


@pytest.mark.parametrize("degrees", [3, 25, -25])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mhd"])
def test_read_volume_sheared_grid_is_read_as_it_lies_in_every_format(tmp_path, name, degrees):
    stored(tmp_path / name, degrees)
    with pytest.warns(UserWarning, match=rf"sheared by {abs(degrees)}\.0 degrees .* measurements"):
        volume = read_volume(tmp_path / name)
    expected = np.diag([2.0, 2.0, 3.0])
    expected[1, 2] = 3 * np.tan(np.radians(degrees))
    np.testing.assert_allclose(volume.affine[:3, :3], expected, atol=1e-5)
    assert volume.spacing_mm == pytest.approx((2, 2, 3))


def stored(path, degrees):
    """The grid of `sheared` with few voxels in a file of some format."""
    data, slope = np.zeros((4, 5, 6), np.int16), np.tan(np.radians(degrees))
    path.with_name("a.raw").write_bytes(data.tobytes())
    if path.suffix == ".nrrd":
        head = (
            f"NRRD0004\ntype: short\ndimension: 3\nspace: RAS\nsizes: 4 5 6\nspace directions: "
            f"(2,0,0) (0,2,0) (0,{3 * slope},3)\nspace origin: (0,0,0)\nendian: little\n"
            f"encoding: raw\n\n"
        )
        path.write_bytes(head.encode() + data.tobytes())
    elif path.suffix == ".mhd":
        path.write_text(
            f"NDims = 3\nTransformMatrix = -1 0 0 0 -1 0 0 {-slope} 1\nOffset = 0 0 0\n"
            f"ElementSpacing = 2 2 3\nDimSize = 4 5 6\nElementType = MET_SHORT\n"
            f"ElementDataFile = a.raw\n"
        )
    else:
        affine = sheared(degrees)
        affine[:3, 3] = 0
        nib.save(nib.Nifti1Image(data, affine), path)
