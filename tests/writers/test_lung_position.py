"""Positions of findings in lungs of known shape."""

import numpy as np
import pandas as pd
import pytest

from semilung.data import Volume
from semilung.writers.lung_position import axial_axis, axial_slices, finding_positions

SHAPE, MM = (80, 60, 70), 4.0
AFFINE = np.array([[MM, 0, 0, -160], [0, MM, 0, -120], [0, 0, MM, -100], [0, 0, 0, 1.0]])
"""RAS: the right lung is at high x."""


def chest(*, lungs=("left", "right"), z=(10, 60), turn=None):
    """A body of water with ellipsoid lungs between two axial slices, and a trachea to the top."""
    x, y, k = np.indices(SHAPE)
    hu = np.full(SHAPE, -1000, np.int16)
    hu[((x - 39.5) / 38) ** 2 + ((y - 29.5) / 28) ** 2 < 1] = 40
    middle, half = (z[0] + z[1]) / 2, (z[1] - z[0]) / 2
    for name, centre in (("left", 22), ("right", 57)):
        if name in lungs:
            hu[
                ((x - centre) / 13) ** 2 + ((y - 30) / 20) ** 2 + ((k - middle) / half) ** 2 < 1
            ] = -850
    hu[(abs(x - 39) < 3) & (abs(y - 25) < 3) & (k > middle)] = -980
    volume = Volume(hu, AFFINE)
    return volume if turn is None else turn(volume)


def flipped(volume):
    affine = volume.affine @ np.array([[-1, 0, 0, 79], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    return Volume(volume.data[::-1], affine)


def permuted(volume):
    return Volume(volume.data.transpose(2, 0, 1), volume.affine[:, [2, 0, 1, 3]])


def at(*voxels):
    """Findings of 8 mm at voxels of `AFFINE`."""
    lps = [(AFFINE @ [*voxel, 1])[:3] * [-1, -1, 1] for voxel in voxels]
    table = pd.DataFrame(lps, columns=["coordX", "coordY", "coordZ"])
    return table.assign(diameter_mm=8.0)


@pytest.mark.parametrize("turn", [None, flipped, permuted])
def test_finding_positions_are_side_and_third_of_the_lung(turn):
    findings = at((22, 30, 52), (57, 30, 35), (22, 30, 15), (39, 10, 35), (57, 30, 54))
    assert finding_positions(findings, chest(turn=turn)) == [
        "left lung, upper third", "right lung, middle third", "left lung, lower third",
        "outside the lungs", "right lung, upper third",
    ]  # fmt: skip


def test_finding_positions_of_lungs_that_the_scan_cuts_have_no_third():
    assert finding_positions(at((22, 30, 52)), chest(z=(-20, 60))) == ["left lung"]


def test_finding_positions_of_one_lung_are_unknown():
    assert finding_positions(at((22, 30, 30)), chest(lungs=("left",))) == [""]


def test_finding_positions_without_lungs_or_findings_are_empty():
    cube = Volume(np.full((20, 20, 20), -800, np.int16), np.eye(4))
    assert finding_positions(at((2, 2, 2), (3, 3, 3)), cube) == ["", ""]
    assert finding_positions(at((2, 2, 2)).head(0), chest()) == []


@pytest.mark.parametrize("turn", [None, flipped, permuted])
def test_axial_slices_are_counted_from_the_feet_along_any_axis(turn):
    volume = chest(turn=turn)
    assert axial_slices(at((22, 30, 52), (57, 30, 0), (2, 3, -5), (2, 3, 99)), volume) == [
        53, 1, 1, 70
    ]  # fmt: skip
    assert volume.shape[axial_axis(volume)] == SHAPE[2]
