"""Findings of a predicted mask."""

import numpy as np
import pytest

from semilung.data import Volume
from semilung.inference.findings import FINDING_COLUMNS, component_findings

AFFINE = np.array([[0, -0.5, 0, 10], [0.8, 0, 0, -20], [0, 0, 2.0, 30], [0, 0, 0, 1.0]])


def test_component_findings_are_centres_in_lps_with_size_and_highest_probability():
    mask = np.zeros((12, 10, 8), np.uint8)
    mask[1:3, 2, 3] = 1
    mask[6:9, 5:8, 4:7] = 1
    probability = mask * 0.6
    probability[7, 6, 5] = 0.95
    probability[2, 2, 3] = 0.7
    table = component_findings(Volume(mask, AFFINE), Volume(probability, AFFINE), "scan")
    assert tuple(table) == FINDING_COLUMNS
    assert table["probability"].tolist() == [0.95, 0.7]
    large = table.iloc[0]
    x, y, z = AFFINE[:3, :3] @ (7, 6, 5) + AFFINE[:3, 3]
    assert large[["coordX", "coordY", "coordZ"]].tolist() == pytest.approx([-x, -y, z])
    assert large["volume_mm3"] == pytest.approx(27 * 0.8)
    assert large["diameter_mm"] == pytest.approx((6 * 27 * 0.8 / np.pi) ** (1 / 3), abs=0.01)
    assert table["volume_mm3"].tolist()[1] == pytest.approx(1.6)


def test_component_findings_diagonal_neighbours_are_one_finding():
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[1, 1, 1] = mask[2, 2, 2] = mask[4, 4, 4] = 1
    assert len(component_findings(Volume(mask, AFFINE), Volume(mask, AFFINE), "a")) == 2


def test_component_findings_of_an_empty_mask_are_an_empty_table():
    empty = Volume(np.zeros((4, 4, 4), np.uint8), AFFINE)
    table = component_findings(empty, empty, "a")
    assert tuple(table) == FINDING_COLUMNS
    assert table.empty
