"""The spatial axes of an NRRD: sizes, directions and unit of length."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

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
_SEGMENT = re.compile(r"segment\d+_.*=")


def spatial_axes(
    path: Path, fields: Mapping[str, str], sizes: tuple[int, ...]
) -> tuple[tuple[int, ...], str]:
    """Return sizes and directions of the spatial axes; any others must have size 1.

    Raises:
        UserError: The file holds several volumes.
    """
    directions = _VECTOR.findall(fields["space directions"])
    axes = list(zip(sizes, directions, strict=False))
    others = [size for size, direction in axes if direction.lower() == "none"]
    if not others:
        return sizes, fields["space directions"]
    layers = math.prod(others)
    if layers == 1:
        spatial = [axis for axis in axes if axis[1].lower() != "none"]
        return tuple(size for size, _ in spatial), " ".join(direction for _, direction in spatial)
    if any(_SEGMENT.fullmatch(key) for key in fields):
        raise UserError(
            f"{path}: this is a layered segmentation of 3D Slicer (4D, {layers} layers), because "
            f"its segments overlap, and a 3D volume is wanted; in Slicer export the segments that "
            f"are nodules to a labelmap (Segmentations, Export/import models and labelmaps), save "
            f"it as .nii.gz or .nrrd, and use that file"
        )
    raise UserError(
        f"{path}: a 3D volume is wanted, found sizes {sizes}, of which axes of {layers} values "
        f"have no direction in space; split it into volumes"
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
