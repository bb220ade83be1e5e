"""Sides of a drawn chest, as stated and flipped."""

from itertools import combinations

import numpy as np
import pytest

from semilung.data.content.chest_sides import AXES, chest_sides
from semilung.data.io.volume import Volume

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def chest(*, heart=-0.15, spine=1.0, cut=0):
    """Volume and lungs: tapering lungs, a heart between them, a spine behind, a sternum."""
    x, y, z = np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in (79, 61, 79)), indexing="ij")
    taper = np.sqrt(np.clip(1 - ((z + 1) / 2.1) ** 2, 0, 1))
    lungs = (np.abs(z) < 1) & ((x / np.maximum(taper, 1e-3)) ** 2 + y**2 < 1)
    lungs &= np.abs(x) > 0.12
    lungs &= ((x - heart) / 0.45) ** 2 + ((y - 0.3) / 0.6) ** 2 + ((z + 0.3) / 0.5) ** 2 > 1
    hu = np.where(lungs, -850.0, 40.0)
    hu[(np.abs(x) < 0.12) & (y < -0.75)] = spine * 700
    hu[(np.abs(x) < 0.1) & (y > 1.1) & (np.abs(z) < 0.4)] = 700
    keep = slice(cut, None)
    return hu[..., keep], lungs[..., keep]


def sides_of(hu, lungs, flips=()):
    axes = [AXES.index(name) for name in flips]
    hu, lungs = (np.flip(volume, axes) for volume in (hu, lungs))
    return chest_sides(Volume(hu, AFFINE), Volume(lungs, AFFINE))


def test_chest_sides_of_a_chest_as_stated_are_all_decided():
    assert sides_of(*chest()) == dict.fromkeys(AXES, "as stated")


@pytest.mark.parametrize("axis", AXES)
def test_chest_sides_flipped_axis_is_reversed(axis):
    sides = sides_of(*chest(), [axis])
    assert sides[axis] == "reversed"
    assert "reversed" not in {side for name, side in sides.items() if name != axis}


@pytest.mark.parametrize("axes", list(combinations(AXES, 2)))
def test_chest_sides_two_flipped_axes_are_never_as_stated(axes):
    sides = sides_of(*chest(), axes)
    assert "as stated" not in {sides[axis] for axis in axes}
    assert "reversed" in sides.values()


def test_chest_sides_without_evidence_are_undecided():
    sides = sides_of(*chest(heart=0.0, spine=0.0, cut=15))
    assert sides["left-right"] == "undecided"
    assert sides["head-feet"] == "undecided"
    hu, lungs = chest()
    assert sides_of(np.minimum(hu, 40), lungs)["front-back"] == "undecided"


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 30, 30), (30, 2, 2)])
def test_chest_sides_tiny_lungs_are_undecided(shape):
    lungs = np.ones(shape, bool)
    assert sides_of(np.full(shape, -850.0), lungs) == dict.fromkeys(AXES, "undecided")


SCANS = ("lidc_0132", "lidc_0132b", "normal_001", "lung_dx_A0001_softkernel")


@pytest.mark.parametrize("name", SCANS)
def test_chest_sides_of_real_chests_are_right_in_every_orientation(real_data, name):
    from semilung.data.content.lungs import coarse_volume, find_lungs
    from semilung.data.io.volume import read_volume, to_ras

    image = to_ras(read_volume(real_data / "scans" / f"{name}_ct.nii.gz"))
    lungs = find_lungs(image).lungs
    hu = coarse_volume(image)
    assert set(sides_of(hu.data, lungs.data).values()) == {"as stated"}
    for axis in AXES:
        assert sides_of(hu.data, lungs.data, [axis])[axis] == "reversed"
