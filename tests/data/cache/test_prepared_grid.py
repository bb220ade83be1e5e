"""Resampling to the prepared grid keeps volumes, positions and instances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semilung.data.cache.prepare import prepare
from semilung.data.cache.prepared_grid import at_spacing, image_onto, instances_onto
from semilung.data.data_config import DataConfig
from semilung.data.io.grid import Grid
from semilung.data.io.resample import resample_onto
from semilung.data.io.volume import Volume, read_volume, write_volume
from semilung.data.manifest.cases import Case


def test_prepare_resampling_keeps_volumes_positions_and_instances(tmp_path):
    affine = np.diag([-0.6, -0.6, 2.5, 1.0])
    shape = (80, 80, 20)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * [0.6, 0.6, 2.5]
    ball = np.linalg.norm(grid - [24, 24, 25], axis=-1)
    mask = np.where(ball <= 9, 7, 0).astype(np.uint8)
    mask[70, 70, 3] = 9  # 0.9 mm3: no voxel of the new grid is half covered by it
    write_volume(tmp_path / "i.nii.gz", np.where(mask == 7, 0, -800).astype(np.int16), affine)
    write_volume(tmp_path / "m.nii.gz", mask, affine)
    case = Case("a", "p", tmp_path / "i.nii.gz", "labelled", tmp_path / "m.nii.gz")
    config = DataConfig(cache=str(tmp_path / "c"), spacing_mm=(1.2, 1.2, 1.2))
    (item,) = prepare([case], config, progress=False)
    out, voxel_mm3 = item.read("mask"), 1.2**3
    assert item.spacing_mm == pytest.approx((1.2, 1.2, 1.2))
    assert set(np.unique(out)) == {0, 7, 9}
    assert (out == 7).sum() * voxel_mm3 == pytest.approx((mask == 7).sum() * 0.9, rel=0.05)
    centre = item.affine @ [*np.argwhere(out == 7).mean(axis=0), 1]
    np.testing.assert_allclose(centre[:3], [-24, -24, 25], atol=0.15)
    assert (item.read("image")[out == 7] > -400).mean() > 0.97
    # And the way back to the scan's own geometry.
    back = resample_onto(
        Volume((out == 7).astype(np.float32), item.affine), *item.source, order=1, fill=0
    )
    original = read_volume(case.mask).data == 7
    overlap = (
        ((back.data >= 0.5) & original).sum() * 2 / ((back.data >= 0.5).sum() + original.sum())
    )
    assert overlap > 0.93


@given(
    at=st.tuples(*[st.integers(0, 19)] * 3),
    spacing_mm=st.tuples(*[st.floats(0.5, 9.0)] * 3),
)
def test_instances_onto_coarse_grid_loses_no_instance(at, spacing_mm):
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[at] = 3
    fine = Volume(mask, np.eye(4))
    found = instances_onto(fine, at_spacing(fine, spacing_mm))
    assert set(np.unique(found)) - {0} == {3}
    away_mm = np.abs((np.argwhere(found == 3).mean(axis=0) + 0.5) * spacing_mm - at - 0.5)
    assert (away_mm <= np.array(spacing_mm) + 0.5).all()


def test_at_spacing_covers_the_same_box():
    old = Grid((10, 20, 30), np.array([[0.5, 0, 0, 3], [0, 0.5, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1]]))
    new = at_spacing(old, (1.0, 0.25, 1.0))
    assert new.shape == (5, 40, 60)
    for grid in (old, new):
        first = grid.affine @ [-0.5, -0.5, -0.5, 1]
        last = grid.affine @ [*(np.array(grid.shape) - 0.5), 1]
        np.testing.assert_allclose(first[:3], [2.75, 3.75, 4])
        np.testing.assert_allclose(last[:3], [7.75, 13.75, 64])


def test_image_onto_coarser_grid_averages():
    stripes = np.tile([-1000.0, 0.0, 0.0, 0.0], 24)[:, None, None] * np.ones((1, 8, 8))
    fine = Volume(stripes.astype(np.float32), np.eye(4))
    grid = at_spacing(fine, (4.0, 1.0, 1.0))
    found = image_onto(fine, grid, fill=-1000.0).data[4:-4]
    np.testing.assert_allclose(found, -250, atol=60)  # a voxel alone would be -1000 or 0


def test_instances_onto_nodule_overwrites_ignored_voxels():
    mask = np.full((12, 12, 12), 255, np.uint8)
    mask[5, 5, 5] = 3  # between the new voxels
    fine = Volume(mask, np.eye(4))
    assert set(np.unique(instances_onto(fine, at_spacing(fine, (3.0,) * 3)))) == {3, 255}
