"""Content-blind baseline: a ball of fixed centre and radius, whatever the image shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.data import Case, Volume, read_grid, read_volume, to_ras
from semilung.evaluation.segmentation import dice
from semilung.types import IGNORE, UserError

STEP_MM = 0.25
"""Step of the radii that are tried."""


class Ball(NamedTuple):
    """A ball, and its mean Dice on the masks to which it was fitted."""

    centre_voxel: tuple[float, float, float]
    radius_mm: float
    dice: float


def content_blind_ball(
    shape: Sequence[int],
    centre_voxel: Sequence[float],
    radius_mm: float,
    spacing_mm: Sequence[float],
) -> NDArray[np.uint8]:
    """Return a ball as a mask: 1 where a voxel's centre is within `radius_mm` of `centre_voxel`.

    Args:
        shape: Size of the mask in voxels.
        centre_voxel: Index coordinates of the centre, possibly fractional.
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
    """Return the ball at `centre_voxel` with the highest mean Dice on the masks.

    Where cases are cropped around their nodule, a segmenter must exceed this baseline on held-out
    cases to show that it uses the image. Fit the ball on training cases and report the Dice of
    `content_blind_ball` on held-out ones.

    Args:
        masks: Non-empty reference masks `(X, Y, Z)` of one shape.
        spacing_mm: Voxel size along X, Y, Z.
        radii_mm: Candidate radii; the first of equally good ones is returned.
        centre_voxel: Index coordinates of the centre.

    Raises:
        UserError: There are no masks or no radii, or the masks differ in shape.
    """
    radii_mm, shapes = [float(r) for r in radii_mm], {mask.shape for mask in masks}
    if len(shapes) != 1 or not radii_mm:
        msg = (
            f"the content-blind ball needs masks of one shape and at least one radius, got shapes "
            f"{sorted(shapes)} and {len(radii_mm)} radii; crop the cases to cubes of one size first"
        )
        raise UserError(msg)
    x, y, z = map(float, centre_voxel)
    shape = shapes.pop()

    def fit(radius_mm: float) -> Ball:
        ball = content_blind_ball(shape, (x, y, z), radius_mm, spacing_mm)
        return Ball((x, y, z), radius_mm, float(np.nanmean([dice(ball, m) for m in masks])))

    return max(map(fit, radii_mm), key=lambda ball: ball.dice)


def ball_scores(train: Sequence[Case], evaluated: Sequence[Case]) -> list[float] | None:
    """Return the Dice of each evaluated case by the ball that fits the training cases best.

    Its centre is the mean centroid of the training masks, and its radius the best one on them.

    Returns:
        None unless all cases have masks on cubes of one size and spacing, and a training mask has
        a lesion.

    Raises:
        UserError: A mask cannot be read.
    """
    if not _are_equal_cubes([*train, *evaluated]):
        return None
    volumes = [volume for volume in _masks(train) if _lesion(volume).any()]
    if not volumes:
        return None
    ball = _fit(volumes)
    return [dice(ball, volume.data) for volume in _masks(evaluated)]


def _are_equal_cubes(cases: Sequence[Case]) -> bool:
    """Return whether all cases have masks on cubes of one size and one spacing."""
    if any(case.mask is None for case in cases):
        return False
    grids = [read_grid(case.mask) for case in cases if case.mask]
    shapes = {grid.shape for grid in grids}
    spacings = {tuple(np.round(np.linalg.norm(grid.affine[:3, :3], axis=0), 4)) for grid in grids}
    return len(shapes) == len(spacings) == 1 and len(set(shapes.pop())) == 1


def _masks(cases: Sequence[Case]) -> list[Volume]:
    return [to_ras(read_volume(case.mask)) for case in cases if case.mask]


def _lesion(volume: Volume) -> NDArray[np.bool_]:
    return np.asarray((volume.data > 0) & (volume.data != IGNORE))


def _fit(volumes: Sequence[Volume]) -> NDArray[Any]:
    spacing_mm, shape = volumes[0].spacing_mm, volumes[0].shape
    centre = np.mean([np.argwhere(_lesion(v)).mean(axis=0) for v in volumes], axis=0)
    radii = np.arange(STEP_MM, min(spacing_mm) * shape[0] / 2, STEP_MM)
    ball = best_ball([volume.data for volume in volumes], spacing_mm, radii, centre)
    return content_blind_ball(shape, ball.centre_voxel, ball.radius_mm, spacing_mm)
