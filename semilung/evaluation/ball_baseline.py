"""The baseline that never looks at the image: a ball where nodules tend to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.evaluation.segmentation import dice
from semilung.types import UserError


class Ball(NamedTuple):
    """A ball, and the mean Dice that it reaches on the masks it was fitted to."""

    centre_voxel: tuple[float, float, float]
    radius_mm: float
    dice: float


def content_blind_ball(
    shape: Sequence[int],
    centre_voxel: Sequence[float],
    radius_mm: float,
    spacing_mm: Sequence[float],
) -> NDArray[np.uint8]:
    """A ball as a mask: 1 where a voxel's centre is within `radius_mm` of `centre_voxel`.

    Args:
        shape: Size of the mask in voxels.
        centre_voxel: Index coordinates of the centre, fractions allowed.
        radius_mm: 0 or more.
        spacing_mm: Voxel size along X, Y, Z.

    Returns:
        `shape` uint8, 0 or 1.

    Example:
        >>> int(content_blind_ball((3, 3, 3), (1, 1, 1), 1.0, (1, 1, 2)).sum())
        5
    """
    squared_mm2 = np.zeros(tuple(shape))
    axes = np.ogrid[tuple(map(slice, shape))]
    for axis, centre, step_mm in zip(axes, centre_voxel, spacing_mm, strict=True):
        squared_mm2 = squared_mm2 + ((axis - centre) * step_mm) ** 2
    return (squared_mm2 <= radius_mm**2).astype(np.uint8)


def best_ball(
    masks: Sequence[NDArray[Any]],
    spacing_mm: Sequence[float],
    radii_mm: Iterable[float],
    centre_voxel: Sequence[float],
) -> Ball:
    """The radius whose ball at `centre_voxel` has the highest mean Dice with the masks.

    Where cases are cut around their nodule, a segmenter has learnt something from the image only
    if it beats this on held-out cases. Fit it on the training cases and report
    `content_blind_ball` on the held-out ones.

    Args:
        masks: Non-empty references `(X, Y, Z)` of one shape.
        spacing_mm: Voxel size along X, Y, Z.
        radii_mm: Candidates; of equals the first wins.
        centre_voxel: Index coordinates of the centre.

    Raises:
        UserError: There are no masks or no radii, or the masks differ in shape.
    """
    radii_mm, shapes = [float(r) for r in radii_mm], {mask.shape for mask in masks}
    if len(shapes) != 1 or not radii_mm:
        msg = (
            "the content-blind ball needs masks of one shape and at least one radius; found "
            f"shapes {sorted(shapes)} and {len(radii_mm)} radii"
        )
        raise UserError(f"{msg}; cut the cases to cubes of one size first")
    x, y, z = map(float, centre_voxel)
    shape = shapes.pop()

    def fit(radius_mm: float) -> Ball:
        ball = content_blind_ball(shape, (x, y, z), radius_mm, spacing_mm)
        return Ball((x, y, z), radius_mm, float(np.nanmean([dice(ball, m) for m in masks])))

    return max(map(fit, radii_mm), key=lambda ball: ball.dice)
