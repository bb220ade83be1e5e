"""Peaks of centre maps in mm, and the removal of weaker ones."""

import numpy as np
import pytest
import torch

from semilung.inference.centre_findings import centre_values, find_centres
from semilung.inference.findings import centre_table
from semilung.inference.outputs import stride_of

AFFINE = np.array([[-0.5, 0, 0, 10], [0, 0.5, 0, -20], [0, 0, 2.0, 30], [0, 0, 0, 1]])


def maps(*peaks, shape=(12, 12, 12)):
    values = np.zeros((5, *shape), np.float32)
    for voxel, probability, offset, diameter_mm in peaks:
        values[(slice(None), *voxel)] = [probability, *offset, np.log(diameter_mm)]
    return values


def find(values, *, min_probability=0.1, most=100):
    return find_centres(values, AFFINE, min_probability=min_probability, most=most)


def test_find_centres_are_in_world_mm_with_their_offset():
    found = find(maps(((3, 4, 5), 0.8, (0.25, 0, -0.5), 6.0)))
    voxel = (np.array([3.25, 4, 4.5]) + 0.5) * 2 - 0.5
    np.testing.assert_allclose(found.points_mm, [AFFINE[:3, :3] @ voxel + AFFINE[:3, 3]])
    np.testing.assert_allclose(found.diameter_mm, [6.0], rtol=1e-6)


def test_find_centres_drops_what_lies_within_a_more_probable_one():
    strong, weak = ((3, 3, 3), 0.9, (0, 0, 0), 9.0), ((7, 3, 3), 0.8, (0, 0, 0), 3.0)
    apart = ((8, 3, 3), 0.7, (0, 0, 0), 30.0)  # 5 mm from the first, whose radius is 4.5 mm
    found = find(maps(strong, weak))  # 4 voxels of the maps are 4 mm
    assert found.probability.tolist() == pytest.approx([0.9])
    assert len(find(maps(strong, apart)).probability) == 2


def test_find_centres_keeps_peaks_above_the_least_probability_most_probable_first():
    values = maps(*(((3 * i, 0, 0), 0.2 * i, (0, 0, 0), 1.0) for i in range(1, 4)))
    assert find(values, min_probability=0.3).probability.tolist() == pytest.approx([0.6, 0.4])
    assert find(values, most=1).probability.tolist() == pytest.approx([0.6])
    assert len(find(values, min_probability=0.7).probability) == 0


def test_find_centres_clips_absurd_diameters():
    found = find(maps(((3, 3, 3), 0.9, (0, 0, 0), 1e9)))
    assert found.diameter_mm.tolist() == pytest.approx([200.0])


def test_centre_table_has_luna16_columns_in_lps():
    row = centre_table(find(maps(((3, 4, 5), 0.8, (0, 0, 0), 6.0))), "scan").loc[0]
    assert row["seriesuid"] == "scan"
    assert (row["coordX"], row["coordY"], row["coordZ"]) == (-6.75, 15.75, 51.0)
    assert row["volume_mm3"] == pytest.approx(np.pi / 6 * 216, abs=0.01)


def test_centre_values_of_an_untrained_head_are_one_percent_and_8_mm():
    values = centre_values(torch.zeros(1, 5, 2, 2, 2))[0, :, 0, 0, 0]
    assert values.tolist() == pytest.approx([0.01, 0, 0, 0, np.log(8)], abs=1e-6)
    assert stride_of(centre_values) == 2
