"""Pseudo-labels of centres: confident, unsure and other peaks of centre maps, by hand."""

import math

import pytest
import torch

from semilung.strategies.centre_detection.pseudo_centres import MOST, PseudoCentres
from semilung.strategies.core.centre_maps import centre_maps

PRIOR = float(centre_maps(torch.zeros(1, 5, 1, 1, 1)).logits)
ONE_VOXEL_MM = 1.0  # a ball of it holds one voxel of the maps


def outputs(*rows, size=8, background=0.001):
    """Centre maps with probability p, offset and diameter at each (voxel, p, offset, mm)."""
    maps = torch.zeros(1, 5, size, size, size)
    maps[:, 0] = math.log(background / (1 - background)) - PRIOR
    for voxel, p, offset, diameter_mm in rows:
        values = [math.log(p / (1 - p)) - PRIOR, *offset, math.log(diameter_mm / 8)]
        maps[(0, slice(None), *voxel)] = torch.tensor(values)
    return {"centres": maps}


def targets(maps, *, threshold=0.7, floor=0.3, spacing_mm=(1.0, 1.0, 1.0)):
    size = [2 * n for n in maps["centres"].shape[2:]]
    batch = {"weak": torch.zeros(1, 1, *size), "spacing_mm": torch.tensor([spacing_mm])}
    return PseudoCentres(threshold, floor).targets(maps, batch)


def test_pseudo_centres_confident_peak_is_a_centre_by_hand():
    made = targets(outputs(((2, 3, 4), 0.8, (0.25, -0.25, -0.5), 6.0)))
    assert made.centre.nonzero().tolist() == [[0, 0, 2, 3, 4]]
    assert made.heatmap[0, 0, 2, 3, 4] == 1
    # sigma = 6 mm / 6; the next voxel is 2 mm away
    assert made.heatmap[0, 0, 3, 3, 4].item() == pytest.approx(math.exp(-2))
    assert made.offset[0, :, 2, 3, 4].tolist() == pytest.approx([0.25, -0.25, -0.5])
    assert made.log_diameter[0, 0, 2, 3, 4].item() == pytest.approx(math.log(6))
    assert made.weight.min() == 1


def test_pseudo_centres_unsure_peak_and_its_ball_weigh_nothing():
    made = targets(outputs(((3, 3, 3), 0.5, (0, 0, 0), 8.0)))
    assert made.centre.sum() == 0
    assert made.heatmap.max() == 0
    ignored = (made.weight[0, 0] == 0).nonzero()
    distance_mm = 2 * (ignored - 3).float().norm(dim=1)
    assert len(ignored) == 33  # voxels of 2 mm within 4 mm
    assert distance_mm.max() <= 4


def test_pseudo_centres_thresholds_include_their_values_and_the_rest_is_background():
    rows = [((1, 1, 1), 0.9, (0, 0, 0), 4.0), ((5, 5, 5), 0.31, (0, 0, 0), ONE_VOXEL_MM),
            ((1, 5, 1), 0.29, (0, 0, 0), ONE_VOXEL_MM)]  # fmt: skip
    made = targets(outputs(*rows))
    assert made.centre.nonzero().tolist() == [[0, 0, 1, 1, 1]]
    assert (made.weight == 0).nonzero().tolist() == [[0, 0, 5, 5, 5]]
    assert targets(outputs(*rows), threshold=0.305, floor=0.3).centre.sum() == 2
    half = outputs(((1, 1, 1), 0.5, (0, 0, 0), 4.0))
    assert targets(half, threshold=0.5, floor=0.5).centre.sum() == 1


def test_pseudo_centres_flank_of_a_peak_is_none():
    rows = [((3, 3, 3), 0.9, (0, 0, 0), 4.0), ((4, 4, 4), 0.8, (0, 0, 0), 4.0)]
    assert targets(outputs(*rows)).centre.nonzero().tolist() == [[0, 0, 3, 3, 3]]
    apart = [rows[0], ((5, 3, 3), 0.8, (0, 0, 0), 4.0)]
    assert targets(outputs(*apart)).centre.sum() == 2


def test_pseudo_centres_at_the_border_and_saturated_are_centres():
    maps = outputs(((0, 7, 0), 0.9, (0, 0, 0), 4.0), ((4, 4, 4), 0.9, (0, 0, 0), 4.0))
    maps["centres"][0, 0, 4, 4, 4:6] = torch.tensor([40.0, 30.0])  # both round to 1
    assert targets(maps).centre.nonzero().tolist() == [[0, 0, 0, 7, 0], [0, 0, 4, 4, 4]]


@pytest.mark.parametrize("offset", [(9.0, 0, 0), (0, -9.0, 0.5)])
def test_pseudo_centres_stay_in_the_voxel_of_their_peak(offset):
    made = targets(outputs(((2, 3, 4), 0.8, offset, 6.0)))
    assert made.centre.nonzero().tolist() == [[0, 0, 2, 3, 4]]


def test_pseudo_centres_of_untrained_diameters_are_bounded():
    maps = outputs(((2, 3, 4), 0.8, (0, 0, 0), 6.0))
    for value, expected_mm in ((-90.0, 1), (90.0, 200)):
        maps["centres"][0, 4] = value
        log_diameter = targets(maps).log_diameter[0, 0, 2, 3, 4]
        assert log_diameter.exp().item() == pytest.approx(expected_mm)


def test_pseudo_centres_of_a_flat_map_are_at_most_so_many():
    assert targets(outputs(background=0.9)).centre.sum() == MOST


def test_pseudo_centres_follow_the_spacing_and_take_no_gradient():
    maps = outputs(((3, 3, 3), 0.8, (0, 0, 0), 6.0))
    maps["centres"].requires_grad_()
    made = targets(maps, spacing_mm=(1.0, 1.0, 2.0))
    assert made.heatmap[0, 0, 3, 3, 4].item() == pytest.approx(math.exp(-8))
    assert not any(value.requires_grad for value in made)


@pytest.mark.parametrize(("threshold", "floor"), [(0.5, 0.6), (1.1, 0.5), (0.5, 0.0)])
def test_pseudo_centres_thresholds_out_of_range_are_refused(threshold, floor):
    with pytest.raises(ValueError, match="0 < floor <= threshold <= 1"):
        PseudoCentres(threshold, floor)
