"""Masks as another reader might have drawn them, by which the stability of features is measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.io.volume import Volume
from semilung.radiomics.radiomic_features import nodule_box

CONTOURS = 2
"""Randomised contours of a nodule."""

WAVE_MM = 3.0
"""Standard deviation of the Gaussian that makes neighbouring points of a contour move together."""


def perturbed_masks(
    image: Volume, mask: Volume, *, distance_mm: float = 1.0
) -> tuple[Volume, dict[str, Volume]]:
    """Return a nodule's image, its mask, and masks of it that differ by about 1 mm.

    Distances are rounded to voxels, along each axis by itself, and are at least one voxel along the
    axis of the smallest voxel size; slices of 2 mm and more are thereby not crossed.

    Args:
        image: In HU.
        mask: On the image's grid, not 0 in the nodule.
        distance_mm: By which masks are eroded, dilated and shifted.

    Returns:
        The image around the nodule, and on its grid: `unchanged`, `eroded`, `dilated`, `shifted_x`
        (`_y`, `_z`) by the distance, and randomised, `contour_1` and `contour_2`: each point of the
        outline is moved by a smooth Gaussian field whose standard deviation is half the distance,
        the same on every call. A mask may be empty.

    Example:
        >>> ball = np.linalg.norm(np.indices((21, 21, 21)) - 10, axis=0) <= 6
        >>> scan, masks = perturbed_masks(Volume(ball * 850.0, np.eye(4)), Volume(ball, np.eye(4)))
        >>> [int(masks[name].data.sum()) for name in ("eroded", "dilated", "shifted_x")]
        [571, 1363, 925]
    """
    image, mask = nodule_box(image, mask)[:2]
    spacing = np.array(mask.spacing_mm)
    steps = np.rint(distance_mm / spacing).astype(int)
    steps = np.maximum(steps, np.isclose(spacing, spacing.min()))
    structure = _ellipsoid(steps)
    masks = {
        "unchanged": mask.data,
        "eroded": ndimage.binary_erosion(mask.data, structure),
        "dilated": ndimage.binary_dilation(mask.data, structure),
        **{
            f"shifted_{axis}": np.roll(mask.data, step, number)  # the margin is empty
            for number, (axis, step) in enumerate(zip("xyz", steps, strict=True))
            if step
        },
        **_contours(mask, distance_mm / 2),
    }
    return image, {name: Volume(data, mask.affine) for name, data in masks.items()}


def _ellipsoid(steps: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Return the structuring element with these semi-axes in voxels; 0 is one voxel thick."""
    offsets = np.moveaxis(np.indices(tuple(2 * steps + 1)), 0, -1) - steps
    inside: NDArray[np.bool_] = ((offsets / np.maximum(steps, 1)) ** 2).sum(-1) <= 1
    return inside


def _contours(mask: Volume, deviation_mm: float) -> dict[str, NDArray[np.bool_]]:
    """Return masks whose outline is moved outwards and inwards by random fields."""
    spacing = np.array(mask.spacing_mm)
    outside, inside = (
        ndimage.distance_transform_edt(voxels, spacing) for voxels in (~mask.data, mask.data)
    )
    half = spacing.min() / 2  # the outline runs between the voxels
    distance = np.where(mask.data, half - inside, outside - half)
    masks = {}
    for number in range(1, CONTOURS + 1):
        white = np.random.default_rng(number).normal(size=mask.shape)
        field = ndimage.gaussian_filter(white, WAVE_MM / spacing)
        masks[f"contour_{number}"] = distance < deviation_mm * field / field.std()
    return masks
