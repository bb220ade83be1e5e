"""Sides of a chest by its anatomy: whether left, front and top lie where the affine says."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semilung.data.content.lungs import cut_faces
from semilung.data.io.volume import Volume

Side: TypeAlias = Literal["as stated", "reversed", "undecided"]

AXES = ("left-right", "front-back", "head-feet")

HEART_LEVELS, HEART_FRONT = (0.35, 0.5), 0.45
"""The heart without the liver's dome: these shares of the lungs' height, in front of this depth."""

HEART_OFFSET = 0.03
"""Least shift of the mediastinum to one side, as a share of half the lungs' width."""

BONE_HU, BONE_CM3, BONE_RATIO = 400.0, 3.0, 1.4
"""Denser than contrast in most vessels; the spine and its least volume, and ratio to a sternum."""

SPINE_MM = 30.0
"""The spine reaches so far behind the lungs, and the sternum in front of them."""

WIDTH_LEVELS = (0.1, 0.3)
"""Levels above the bottom, and below the top, at which the lungs' widths are compared."""

WIDTH_RATIO = 1.08


def chest_sides(hu: Volume, lungs: Volume) -> dict[str, Side]:
    """Compare where heart, spine and apices lie with what the affine says.

    - left-right: the heart shifts the tissue between the lungs to the left. A shift to the right
      may also be situs inversus, an effusion, a collapse or an operation.
    - front-back: the spine, behind the lungs, holds more dense bone than the sternum.
    - head-feet: lungs taper towards the apices; undecided where top or bottom are cut off.

    Thresholds leave a side undecided rather than err; a chest with both lungs is assumed.

    Args:
        hu: On the grid of `lungs` (`coarse_volume`), in RAS+.
        lungs: From a `LungSearch`.

    Returns:
        For each of `AXES`.
    """
    box = _box(lungs.data)
    mask = lungs.data[box]
    return {
        "left-right": _decide(-_heart_shift(mask) / HEART_OFFSET),
        "front-back": _decide(_bone_ratio(hu, box) / math.log(BONE_RATIO)),
        "head-feet": "undecided"
        if {"bottom", "top"} & set(cut_faces(lungs))
        else _decide(_taper(mask) / math.log(WIDTH_RATIO)),
    }


def _decide(evidence: float) -> Side:
    """1 or more speaks for the affine, -1 or less against it."""
    if not math.isfinite(evidence) or abs(evidence) < 1:
        return "undecided"
    return "as stated" if evidence > 0 else "reversed"


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    x, y, z = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return (slice(x[0], x[-1] + 1), slice(y[0], y[-1] + 1), slice(z[0], z[-1] + 1))


def _heart_shift(mask: NDArray[np.bool_]) -> float:
    """Shift of the tissue between the lungs, to the right where positive; NaN where unclear."""
    width, depth, height = mask.shape
    low, high = (int(share * height) for share in HEART_LEVELS)
    part = mask[:, int(HEART_FRONT * depth) :, low:high]
    if width < 2:
        return math.nan
    left, right = part[: width // 2][::-1], part[(width + 1) // 2 :]
    between = left.any(axis=0) & right.any(axis=0) & ~left[0] & ~right[0]
    gaps = np.stack([side.argmax(axis=0)[between] for side in (left, right)]).astype(float)
    widths = gaps.sum(axis=0)
    if widths.sum() < width:  # a few rows of tissue say nothing
        return math.nan
    return float((((gaps[1] - gaps[0]) / 2) * widths).sum() / widths.sum() / (width / 2))


def _bone_ratio(hu: Volume, box: tuple[slice, slice, slice]) -> float:
    """Logarithm of dense bone behind the lungs' middle to that in front of it."""
    x, y, z = box
    width, pad = x.stop - x.start, int(SPINE_MM / hu.spacing_mm[1])
    central = slice(x.start + int(0.35 * width), x.start + int(0.65 * width) + 1)
    depth = slice(max(0, y.start - pad), y.stop + pad)
    voxel_cm3 = float(np.prod(hu.spacing_mm)) / 1000
    bone = (hu.data[central, depth, z] > BONE_HU).sum(axis=(0, 2)) * voxel_cm3
    third = len(bone) // 3
    back, front = float(bone[:third].sum()), float(bone[len(bone) - third :].sum())
    if max(back, front) < BONE_CM3:
        return math.nan
    return math.log((back + BONE_CM3 / 10) / (front + BONE_CM3 / 10))


def _taper(mask: NDArray[np.bool_]) -> float:
    """Logarithm of the lungs' width near the bottom to that near the top."""
    height = mask.shape[2]
    low, high = (round(share * height) for share in WIDTH_LEVELS)
    if high <= low:
        return math.nan
    bottom, top = _width(mask[..., low:high]), _width(mask[..., height - high : height - low])
    return math.log(bottom / top)


def _width(slices: NDArray[np.bool_]) -> float:
    """Mean distance between the outer edges of the lungs."""
    columns = np.asarray(slices.any(axis=1))
    extents = columns.shape[0] - columns.argmax(axis=0) - columns[::-1].argmax(axis=0)
    return float(extents[columns.any(axis=0)].mean()) if columns.any() else math.nan
