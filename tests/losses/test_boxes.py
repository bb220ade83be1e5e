"""Boxes and their ellipsoids: voxels, volumes, borders."""

import math

import pytest
import torch

from semilung.losses.boxes import centre_inside, nearest_ellipsoid, visible_volumes


def boxes(*rows):
    """`(1, N, 2 D)` of rows (centre, half edges)."""
    return torch.tensor([rows], dtype=torch.float64)


def test_nearest_ellipsoid_of_a_voxel_in_two_is_the_nearer_one():
    one, two = (0, 2, 1, 2), (0, 6, 1, 2)  # at 1.5 half edges voxels 3, 4 and 5 are in both
    like = torch.zeros(1, 1, 1, 9)
    first = nearest_ellipsoid(boxes(one, two), like, scale=1.5)
    assert first.flatten().tolist() == [1] * 5 + [2] * 4
    second = nearest_ellipsoid(boxes(two, one), like, scale=1.5)
    assert second.flatten().tolist() == [2] * 4 + [1] * 5


def test_nearest_ellipsoid_holds_its_centres_voxel_and_padding_holds_none():
    tiny, padding = (2.5, 2.5, 2.5, 0.1, 0.1, 0.1), (math.nan,) * 6
    label = nearest_ellipsoid(boxes(tiny, padding), torch.zeros(1, 1, 6, 6, 6))
    assert label.flatten().bincount().tolist() == [6**3 - 8, 8]


@pytest.mark.parametrize("half", [1.0, 1.5, 2.0, 3.0, 5.0])
def test_visible_volumes_are_those_of_ellipsoids(half):
    generator = torch.Generator().manual_seed(0)
    for centre in 9.5 + torch.rand((4, 3), generator=generator):
        volume = visible_volumes(
            boxes((*centre.tolist(), half, half, half)), torch.zeros(1, 1, 20, 20, 20)
        )
        assert volume.item() == pytest.approx(4 / 3 * math.pi * half**3, rel=0.06)
    stretched = visible_volumes(
        boxes((9, 9, 9, half, 1.3 * half, half)), torch.zeros(1, 1, 20, 20, 20)
    )
    assert stretched.item() == pytest.approx(4 / 3 * math.pi * 1.3 * half**3, rel=0.15)


def test_visible_volumes_of_cut_ellipsoids_are_of_what_is_inside():
    cut, padding = (-0.5, 9.5, 9.5, 5.0, 5.0, 5.0), (math.nan,) * 6
    volumes = visible_volumes(boxes(cut, padding), torch.zeros(1, 1, 20, 20, 20))
    assert volumes[0, 0].item() == pytest.approx(2 / 3 * math.pi * 5**3, rel=0.02)
    assert volumes[0, 1].isnan()
    assert visible_volumes(torch.empty(1, 0, 6), torch.zeros(1, 1, 2, 2, 2)).shape == (1, 0)


def test_centre_inside_is_within_the_outer_faces_of_voxels():
    rows = boxes(
        (-0.5, 0, 1, 1), (-0.6, 0, 1, 1), (2.5, 3, 1, 1), (2.5, 3.6, 1, 1), (math.nan,) * 4
    )
    inside = centre_inside(rows, torch.zeros(1, 1, 3, 4))
    assert inside.tolist() == [[True, False, True, False, False]]
