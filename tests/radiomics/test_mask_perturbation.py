"""Masks that differ by about 1 mm."""

import numpy as np
import pytest
from scipy import ndimage

from semilung.data import Volume
from semilung.radiomics.mask_perturbation import perturbed_masks


def ball(spacing_mm, radius_mm=6.0, size=(40, 40, 24)):
    offsets = np.moveaxis(np.indices(size), 0, -1) - np.array(size) // 2
    mask = np.linalg.norm(offsets * spacing_mm, axis=-1) <= radius_mm
    return Volume(mask * 850.0 - 800, np.diag([*spacing_mm, 1.0])), Volume(
        mask, np.diag([*spacing_mm, 1.0])
    )


def test_perturbed_masks_are_eroded_dilated_and_shifted_by_a_millimetre():
    _, masks = perturbed_masks(*ball((1.0, 1.0, 1.0)))
    data = {name: mask.data for name, mask in masks.items()}
    unchanged = data["unchanged"]
    assert (data["eroded"] == ndimage.binary_erosion(unchanged)).all()
    assert (data["dilated"] == ndimage.binary_dilation(unchanged)).all()
    centre = np.array(ndimage.center_of_mass(unchanged))
    for axis, name in enumerate("xyz"):
        step = ndimage.center_of_mass(data[f"shifted_{name}"]) - centre
        assert step == pytest.approx(np.eye(3)[axis])


def test_perturbed_masks_do_not_cross_thick_slices():
    _, masks = perturbed_masks(*ball((0.7, 0.7, 2.5)))
    assert "shifted_z" not in masks
    slices = {name: np.flatnonzero(mask.data.any((0, 1))).tolist() for name, mask in masks.items()}
    assert slices["dilated"] == slices["unchanged"]


def test_perturbed_masks_have_random_contours_of_the_same_size_on_every_call():
    image, mask = ball((0.7, 0.7, 1.0))
    (_, first), (_, second) = (perturbed_masks(image, mask) for _ in range(2))
    contours = [first[f"contour_{number}"].data for number in (1, 2)]
    assert (contours[0] != contours[1]).any()
    assert (contours[0] == second["contour_1"].data).all()
    unchanged = first["unchanged"].data
    for contour in contours:
        assert contour.sum() == pytest.approx(unchanged.sum(), rel=0.25)
        dice = 2 * (contour & unchanged).sum() / (contour.sum() + unchanged.sum())
        assert 0.85 < dice < 0.99
