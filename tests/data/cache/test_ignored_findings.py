"""Ignored findings of `nodules.csv` are voxels of 255 in a prepared mask."""

from dataclasses import replace

import numpy as np
import pytest

from semilung.data.cache.prepare import prepare
from semilung.data.data_config import DataConfig
from semilung.data.io.grid import ball_voxels
from semilung.data.io.volume import write_volume
from semilung.data.manifest.cases import Case
from semilung.data.manifest.nodules import Nodule

AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1, 0, 20], [0, 0, 2, -50], [0, 0, 0, 1]])
SHAPE = (40, 36, 20)
PLACES_MM = np.moveaxis(np.indices(SHAPE), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
NODULE, FINDING = (12.0, 6.0, -30.0), (2.0, 0.0, -24.0)


def ball(centre_mm, radius_mm):
    return np.linalg.norm(PLACES_MM - centre_mm, axis=-1) <= radius_mm


@pytest.fixture
def prepared(tmp_path):
    """Of a scan with one nodule in its mask and any rows of `nodules.csv`."""
    mask = ball(NODULE, 5).astype(np.uint8)
    hu = np.where(mask > 0, 20, np.random.default_rng(0).normal(-850, 30, SHAPE))
    write_volume(tmp_path / "i.nii", hu.astype(np.int16), AFFINE)
    write_volume(tmp_path / "m.nii", mask, AFFINE)
    case = Case("a", "p", tmp_path / "i.nii", "labelled", mask=tmp_path / "m.nii")

    def of(*nodules, spacing_mm=None, **changes):
        config = DataConfig(cache=str(tmp_path / "c"), spacing_mm=spacing_mm)
        case_ = replace(case, nodules=nodules, **changes)
        return prepare([case_], config, progress=False, processes=0)[0]

    return of


def in_source_axes(item, name="mask"):
    return item.read(name)[::-1, ::-1]  # RAS+ of LPS+


@pytest.mark.parametrize(("diameter_mm", "radius_mm"), [(6.0, 3), (14.0, 7), (None, 5)])
def test_prepare_paints_an_ignored_finding_as_a_ball_of_its_diameter(
    prepared, diameter_mm, radius_mm
):
    certain = Nodule("1", NODULE, 10.0)
    item = prepared(certain, Nodule("2", FINDING, diameter_mm, ignored=True))
    mask = in_source_axes(item)
    np.testing.assert_array_equal(mask == 1, ball(NODULE, 5))
    np.testing.assert_array_equal(mask == 255, ball(FINDING, radius_mm) & ~ball(NODULE, 5))
    assert (in_source_axes(prepared(certain)) == 255).sum() == 0  # another entry of the cache


def test_prepare_an_ignored_finding_in_a_nodule_leaves_the_nodule(prepared):
    item = prepared(Nodule("2", NODULE, 14.0, ignored=True))
    mask = in_source_axes(item)
    np.testing.assert_array_equal(mask == 1, ball(NODULE, 5))
    np.testing.assert_array_equal(mask == 255, ball(NODULE, 7) & ~ball(NODULE, 5))
    assert (item.read("mask")[tuple(item.foreground.T.astype(int))] == 1).all()


def test_prepare_an_ignored_finding_follows_the_grid_that_the_scan_is_resampled_to(prepared):
    finding = Nodule("2", FINDING, 12.0, ignored=True)
    item = prepared(finding, spacing_mm=(1.5, 1.5, 1.5))
    voxels = np.argwhere(item.read("mask") == 255)
    centre_mm = item.affine[:3, :3] @ voxels.mean(0) + item.affine[:3, 3]
    np.testing.assert_allclose(centre_mm, FINDING, atol=0.8)
    assert len(voxels) * 1.5**3 == pytest.approx(np.pi / 6 * 12**3, rel=0.1)


def test_prepare_an_ignored_finding_that_is_smaller_than_a_voxel_is_one_voxel(prepared):
    voxels = np.argwhere(in_source_axes(prepared(Nodule("2", FINDING, 0.1, ignored=True))) == 255)
    np.testing.assert_allclose(voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3], [FINDING])


def test_prepare_an_ignored_finding_outside_the_volume_paints_what_reaches_into_it(prepared):
    for z_mm in (-53.0, -500.0):
        place = (10.0, 0.0, z_mm)
        mask = in_source_axes(prepared(Nodule("2", place, 12.0, ignored=True)))
        np.testing.assert_array_equal(mask == 255, ball(place, 6))


def test_prepare_an_ignored_finding_of_a_scan_without_mask_paints_nothing(prepared):
    certain = Nodule("1", NODULE, 10.0)
    item = prepared(certain, Nodule("2", FINDING, 6.0, ignored=True), mask=None)
    assert set(item.files) == {"image"}


@pytest.mark.parametrize("edge", [-0.5, 3.5])
def test_ball_voxels_at_the_edge_of_a_volume_is_its_last_voxel(edge):
    box, voxels = ball_voxels((4, 4, 4), np.eye(4), (edge, 1.0, 1.0), 0.1)
    volume = np.zeros((4, 4, 4))
    volume[box][voxels] = 1
    assert np.argwhere(volume).tolist() == [[round(abs(edge) - 0.5), 1, 1]]
