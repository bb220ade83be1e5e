"""Evidence pooled over a nodule and its surroundings."""

import numpy as np
import pytest
import torch

from semilung.strategies.core.nodule_pooling import SHELL_MM, pool_nodule

SIZE = 24


def distances_mm(centre, spacing_mm=(1.0, 1.0, 1.0)):
    grid = np.moveaxis(np.indices((SIZE,) * 3), 0, -1)
    offsets = ((grid + 0.5) * 2 - 0.5 - centre) * spacing_mm
    return torch.from_numpy(np.linalg.norm(offsets, axis=-1))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 0.7, 1.25)])
def test_pool_nodule_averages_the_nodule_and_its_shell(spacing_mm):
    centre, far = (23.0, 21.0, 25.0), distances_mm((23.0, 21.0, 25.0), spacing_mm)
    maps = torch.zeros(3, SIZE, SIZE, SIZE)
    maps[0] = torch.where(far < 5, 2.0, -50.0)  # seen in the nodule alone
    maps[1] = 7.0
    assert float(pool_nodule(maps, centre, 6.0, spacing_mm)) == pytest.approx(9.0)


def test_pool_nodule_does_not_read_the_shell_channel_in_the_nodule_nor_beyond():
    centre = (23.0, 23.0, 23.0)
    far = distances_mm(centre)
    maps = torch.zeros(3, SIZE, SIZE, SIZE)
    maps[1] = torch.where(far < 8, -50.0, torch.where(far > 10 + SHELL_MM + 2, -50.0, 3.0))
    assert float(pool_nodule(maps, centre, 20.0, (1, 1, 1))) == pytest.approx(3.0)


def test_pool_nodule_with_a_mask_averages_the_mask_near_the_nodule_alone():
    centre = (23.0, 23.0, 23.0)
    mask = torch.zeros(SIZE, SIZE, SIZE)
    mask[10:12, 11, 11] = 1  # of this nodule
    mask[0:3, 0:3, 0:3] = 1  # of another one
    maps = torch.zeros(3, SIZE, SIZE, SIZE)
    maps[0] = -50
    maps[0, 10, 11, 11], maps[0, 11, 11, 11] = 1, 2
    maps[0, :3, :3, :3] = 90
    assert float(pool_nodule(maps, centre, 8.0, (1, 1, 1), mask=mask)) == pytest.approx(1.5)
    assert float(pool_nodule(maps, centre, 8.0, (1, 1, 1))) < -20  # without it, the ball


def test_pool_nodule_smaller_than_a_voxel_and_at_the_border_is_finite():
    maps = torch.randn(6, SIZE, SIZE, SIZE)
    for centre in ((0.0, 0.0, 0.0), (47.0, 47.0, 47.0), (23.4, 11.0, 30.9)):
        outputs = pool_nodule(maps, centre, 0.5, (1, 1, 1))
        assert outputs.shape == (2,)
        assert outputs.isfinite().all()


def test_pool_nodule_adds_evidence_by_the_logarithm_of_the_unzoomed_diameter():
    maps = torch.zeros(3, SIZE, SIZE, SIZE)
    maps[0], maps[2] = 1.0, 2.0
    centre, spacing_mm = (23.0, 23.0, 23.0), (1, 1, 1)
    assert float(pool_nodule(maps, centre, 10.0, spacing_mm)) == pytest.approx(1.0)
    assert float(pool_nodule(maps, centre, 20.0, spacing_mm)) == pytest.approx(1 + 2 * np.log(2))
    zoomed = pool_nodule(maps, centre, 20.0, spacing_mm, unzoomed_mm=5.0)
    assert float(zoomed) == pytest.approx(1 + 2 * np.log(0.5))
