"""The voxel grid of a volume, and the checks that it has to pass in every file format."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semilung.data.io.units import implausible_edges
from semilung.types import UserError

Shape: TypeAlias = tuple[int, int, int]
Affine: TypeAlias = NDArray[np.float64]

MAX_VOXELS = 2**30
"""Largest volume (2 GiB as int16) that is read, or made by resampling."""

MAX_ORIGIN_MM = 1e6
"""Largest coordinate of an origin that may be a patient's."""

SHEAR_DEGREES = 1.0
"""Axes further off right angles count as sheared; within it a volume is 0.02 % off at most."""

MAX_SHEAR_DEGREES = 45.0
"""Largest shear that is read; the gantry of a CT scanner tilts by 30 degrees at most."""


class Grid(NamedTuple):
    """A volume's grid without its voxels: `shape` and the `(4, 4)` voxel-to-RAS+ mm `affine`."""

    shape: Shape
    affine: Affine


def voxel_of(affine: Affine, point_mm: Sequence[float]) -> NDArray[np.float64]:
    """Return the voxel index `(3,)`, not rounded, of a point in RAS+ mm."""
    inverse = np.linalg.inv(affine)
    return np.asarray(inverse[:3, :3] @ np.asarray(point_mm) + inverse[:3, 3], np.float64)


def contains(shape: Shape, voxel: NDArray[np.float64]) -> bool:
    """Return whether a voxel index is inside a volume, the outer halves of its voxels included."""
    return bool(((voxel >= -0.5) & (voxel <= np.array(shape) - 0.5)).all())


def ball_voxels(
    shape: Shape, affine: Affine, centre_mm: Sequence[float], radius_mm: float
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """Return the voxels of a ball: the box of the volume that it reaches, and a mask of the box.

    They are those whose centre is within the radius, and the one in which the ball's centre lies.

    Args:
        shape: Of the volume.
        affine: `(4, 4)`, voxel indices to RAS+ mm.
        centre_mm: In RAS+ mm; may be outside the volume.
        radius_mm: 0 or more.

    Example:
        >>> box, ball = ball_voxels((9, 9, 9), np.eye(4), (4, 4, 0), 1)
        >>> box, int(ball.sum())
        ((slice(3, 6, None), slice(3, 6, None), slice(0, 2, None)), 6)
    """
    centre = voxel_of(affine, centre_mm)
    reach = np.maximum(radius_mm / np.array(spacing_of(affine)), 0.5)
    low = np.clip(np.ceil(centre - reach), 0, shape).astype(int)
    high = np.clip(np.floor(centre + reach) + 1, 0, shape).astype(int)
    offsets = np.moveaxis(np.indices(tuple(np.maximum(high - low, 0))), 0, -1) + low - centre
    ball = np.linalg.norm(offsets @ affine[:3, :3].T, axis=-1) <= radius_mm
    ball |= (np.abs(offsets) <= 0.5).all(-1)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)), ball


def ball_diameter_mm(voxels: ArrayLike, voxel_mm3: float) -> NDArray[np.float64]:
    """Return the diameter of the ball whose volume is that of so many voxels, elementwise.

    Example:
        >>> round(float(ball_diameter_mm(524, 1.0)), 1)
        10.0
    """
    diameters_mm: NDArray[np.float64] = np.cbrt(6 / np.pi * np.asarray(voxels) * voxel_mm3)
    return diameters_mm


def checked_grid(path: Path, shape: tuple[int, ...], affine: Affine) -> Grid:
    """Return the grid that a header states, after checking that a CT may have it.

    Args:
        path: The file, for messages.
        shape: Of any length; trailing sizes of 1 are dropped.
        affine: `(4, 4)`, voxel indices to RAS+ mm.

    Raises:
        UserError: The shape is not 3D, empty or larger than `MAX_VOXELS`; or the affine is not
            finite, singular, or has an origin, voxel size or shear that no CT has.

    Warns:
        UserWarning: The grid is sheared (tilted gantry). It is kept; networks and measurements
            work on a right-angled copy (`straightened`).
    """
    return Grid(_checked_shape(path, shape), _checked_affine(path, affine))


def _checked_shape(path: Path, raw: tuple[int, ...]) -> Shape:
    shape = raw[:3] if all(n == 1 for n in raw[3:]) else raw
    if len(shape) != 3:
        raise UserError(f"{path}: a 3D volume is wanted, found shape {raw}; split it into volumes")
    if min(shape) < 1:
        raise UserError(f"{path}: the volume is empty, its shape is {raw}; export it again")
    if math.prod(shape) > MAX_VOXELS:
        raise UserError(
            f"{path}: the header announces shape {raw}, the limit is {MAX_VOXELS} voxels; is it "
            f"damaged?"
        )
    x, y, z = (int(n) for n in shape)
    return (x, y, z)


def _checked_affine(path: Path, affine: Affine) -> Affine:
    if not np.isfinite(affine).all():
        raise UserError(f"{path}: the affine has values that are not finite; repair the header")
    with np.errstate(over="ignore"):
        edges = np.linalg.norm(affine[:3, :3], axis=0)
    if edges.min() == 0:
        raise UserError(f"{path}: the affine is singular (a voxel of zero size); repair the header")
    if (implausible := implausible_edges(edges.tolist())) is not None:
        raise UserError(f"{path}: {implausible}; repair the header's unit or voxel size")
    if np.abs(affine[:3, 3]).max() > MAX_ORIGIN_MM:
        raise UserError(
            f"{path}: the origin, {affine[:3, 3].tolist()} mm, is too far away for a scan; repair "
            f"the header"
        )
    axes = affine[:3, :3] / edges
    if abs(np.linalg.det(axes)) < 1e-2:
        raise UserError(
            f"{path}: the affine is singular: its axes all but lie in a plane; repair the header"
        )
    if (shear := shear_degrees(affine)) > MAX_SHEAR_DEGREES:
        raise UserError(
            f"{path}: the axes are sheared by {shear:.1f} degrees, more than a tilted gantry does; "
            f"repair the header"
        )
    if shear > SHEAR_DEGREES:
        warnings.warn(
            f"{path}: the axes are sheared by {shear:.1f} degrees (was the gantry tilted?): the "
            f"volume is resampled to right angles for the network and for measurements, and masks "
            f"lie on its own sheared grid, which ITK and 3D Slicer may refuse or straighten",
            stacklevel=2,
        )
    return affine


def shear_degrees(affine: Affine) -> float:
    """Return the largest deviation of two axes of a grid from a right angle, in degrees.

    Example:
        >>> tilted = np.diag([1.0, 1.0, 2.0, 1.0])
        >>> tilted[1, 2] = 2.0
        >>> round(shear_degrees(tilted), 3)
        45.0
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosine = float(np.abs(np.triu(axes.T @ axes, 1)).max())
    return math.degrees(math.asin(min(cosine, 1.0)))


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Return the voxel edge lengths in mm; their product is the voxel's volume.

    They are the norms of the affine's first three columns. For a sheared grid they are the edges
    of the right-angled voxel of equal volume: with a tilted gantry the distance between slices,
    not the slanted step.

    Example:
        >>> tilted = np.diag([1.0, 1.0, 3.0, 1.0])
        >>> tilted[1, 2] = 1.5
        >>> spacing_of(tilted)
        (1.0, 1.0, 3.0)
    """
    if shear_degrees(affine) > SHEAR_DEGREES:
        x, y, z = np.abs(np.diag(np.linalg.qr(affine[:3, :3]).R))
    else:
        x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return (float(x), float(y), float(z))
