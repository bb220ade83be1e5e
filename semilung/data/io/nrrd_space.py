"""The spatial axes of an NRRD: sizes, directions and unit of length."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.units import unit_mm
from semilung.types import UserError

TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "lps": (1, 1, 1),
    "ras": (-1, -1, 1),
    "las": (1, -1, 1),
}
"""Supported spaces, and the signs that turn their directions into LPS."""

_VECTOR = re.compile(r"none|\([^()]*\)", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]*)"')


class SpatialAxes(NamedTuple):
    """The axes of an NRRD that have a direction in space, and the one that has none.

    Attributes:
        sizes: Of the spatial axes.
        directions: Of the spatial axes, as the header has them.
        layers: Size of the axis without a direction, 1 where there is none.
        layer_axis: Position of that axis among all of them.
    """

    sizes: tuple[int, ...]
    directions: str
    layers: int = 1
    layer_axis: int = 0


def spatial_axes(path: Path, fields: Mapping[str, str], sizes: tuple[int, ...]) -> SpatialAxes:
    """Return the spatial axes of an NRRD; at most one other axis has a size above 1.

    Raises:
        UserError: Several others have.
    """
    directions = _VECTOR.findall(fields["space directions"])
    axes = list(zip(sizes, directions, strict=False))
    others = [k for k, (_, direction) in enumerate(axes) if direction.lower() == "none"]
    if not others:
        return SpatialAxes(sizes, fields["space directions"])
    large = [k for k in others if sizes[k] != 1]
    if len(large) > 1 or len(axes) < len(sizes):
        raise several_volumes(path, sizes)
    spatial = [axis for k, axis in enumerate(axes) if k not in others]
    return SpatialAxes(
        tuple(size for size, _ in spatial),
        " ".join(direction for _, direction in spatial),
        sizes[large[0]] if large else 1,
        large[0] if large else others[0],
    )


def several_volumes(path: Path, sizes: tuple[int, ...]) -> UserError:
    """Return the error of a file that holds several volumes."""
    return UserError(
        f"{path}: a 3D volume is wanted, found sizes {sizes}, of which an axis has no direction in "
        f"space; split it into volumes"
    )


def units_mm(path: Path, fields: Mapping[str, str]) -> NDArray[np.float64]:
    """Return the unit of each spatial direction in mm: `space units`, or one unit for all.

    Raises:
        UserError: A unit of length is unknown, or their number is not that of the directions.
    """
    per_direction = "space units" in fields
    name = "space units" if per_direction else "units"
    # `units` are per array axis; a non-spatial axis has an empty one
    quoted = [word for word in _QUOTED.findall(fields.get(name, "")) if word or per_direction]
    mm = [unit_mm(path, name, word) for word in quoted]
    if not per_direction:  # different ones cannot be assigned to directions
        mm = (mm[:1] or [1.0]) * 3 if len(set(mm)) <= 1 else []
    if len(mm) != 3:
        raise UserError(
            f"{path}: {name} is {fields[name][:80]!r}, where one unit for each of 3 directions is "
            f'wanted, such as "mm" "mm" "mm"; repair the header'
        )
    return np.array(mm)
