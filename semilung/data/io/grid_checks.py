"""What a volume's shape and affine have to be, whatever the format."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.units import implausible_edges
from semilung.types import UserError

Shape: TypeAlias = tuple[int, int, int]
Affine: TypeAlias = NDArray[np.float64]

MAX_VOXELS = 2**30
"""More voxels than this (2 GiB as int16) are refused before any is read, or made by resampling."""

FAR_MM = 1e6
"""An origin further away than this is no place of a patient."""

SHEAR_DEGREES = 1.0
"""Axes further off right angles are taken as sheared; within it a volume is 0.02 % off at most."""

MOST_SHEARED = 45.0
"""Axes further off right angles, in degrees, are no tilted gantry's: these end at 30."""


def checked_shape(path: Path, raw: tuple[int, ...]) -> Shape:
    """The three sizes of a volume, trailing ones left out.

    Raises:
        UserError: It is not 3D, empty, or larger than `MAX_VOXELS`.
    """
    shape = raw[:3] if all(n == 1 for n in raw[3:]) else raw
    if len(shape) != 3:
        raise UserError(f"{path}: a 3D volume is wanted, found shape {raw}; split it into volumes")
    if min(shape) < 1:
        raise UserError(f"{path}: the volume is empty, its shape is {raw}")
    if math.prod(shape) > MAX_VOXELS:
        limit = f"the limit is {MAX_VOXELS} voxels"
        raise UserError(f"{path}: the header announces shape {raw}, {limit}; is it damaged?")
    x, y, z = (int(n) for n in shape)
    return (x, y, z)


def checked_affine(path: Path, affine: Affine) -> Affine:
    """A `(4, 4)` affine to mm that a CT may have.

    Warns of a sheared grid, as of a tilted gantry, in whatever format. It is read as it lies; nets
    and measurements work on a grid at right angles (`grids.straightened`).

    Raises:
        UserError: It is not finite, singular, far away, or no CT's in its voxel size or shear.
    """
    if not np.isfinite(affine).all():
        raise UserError(f"{path}: the affine has values that are not finite; repair the header")
    with np.errstate(over="ignore"):
        edges = np.linalg.norm(affine[:3, :3], axis=0)
    if edges.min() == 0:
        raise UserError(f"{path}: the affine is singular (a voxel of zero size); repair the header")
    if (implausible := implausible_edges(edges.tolist())) is not None:
        raise UserError(f"{path}: {implausible}; repair the header's unit or voxel size")
    if np.abs(affine[:3, 3]).max() > FAR_MM:
        raise UserError(
            f"{path}: an origin at {affine[:3, 3].tolist()} mm is no scan's; repair the header"
        )
    axes = affine[:3, :3] / edges
    if abs(np.linalg.det(axes)) < 1e-2:
        raise UserError(
            f"{path}: the affine is singular: its axes all but lie in a plane; repair the header"
        )
    if (shear := shear_degrees(affine)) > MOST_SHEARED:
        raise UserError(
            f"{path}: the axes are sheared by {shear:.1f} degrees, which no tilted gantry does; "
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
    """How far two axes of a grid are off right angles, at most.

    Example:
        >>> tilted = np.diag([1.0, 1.0, 2.0, 1.0])
        >>> tilted[1, 2] = 2.0
        >>> round(shear_degrees(tilted), 3)
        45.0
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosine = float(np.abs(np.triu(axes.T @ axes, 1)).max())
    return math.degrees(math.asin(min(cosine, 1.0)))
