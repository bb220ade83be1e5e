"""DICOM SEG: segments as frames of pixels, placed on the grid of their CT."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.importers.dicom.annotation import Annotation, Region
from semilung.data.io.dicom.slice_file import read_safely
from semilung.data.io.grid import MAX_VOXELS, Grid
from semilung.data.io.opened_volume import LPS_TO_RAS
from semilung.data.io.resample import resample_onto
from semilung.data.io.segments import Segment
from semilung.data.io.volume import Volume
from semilung.types import UserError

ON_GRID = 0.2
"""A frame whose pixels are within this share of a voxel of the CT's is on its grid."""

HALF = 0.5
"""Fraction of a fractional segment from which on a voxel belongs to it."""


def read_seg(path: Path) -> Annotation:
    """Read a SEG with highdicom: binary, fractional (from 0.5 on) or label map.

    Raises:
        UserError: It is no SEG that can be read.
    """
    return read_safely(path, _annotation, "SEG")


def _annotation(path: Path) -> Annotation:
    from highdicom.seg import segread
    from pydicom import dcmread

    header = dcmread(
        path, stop_before_pixels=True, specific_tags=["NumberOfFrames", "Rows", "Columns"]
    )
    if int(header.NumberOfFrames) * int(header.Rows) * int(header.Columns) > MAX_VOXELS:
        raise UserError(f"{path}: the SEG announces more than {MAX_VOXELS} voxels; is it damaged?")
    seg = segread(path)
    stored = seg.get_stored_frames()
    if len(stored) != len(seg.PerFrameFunctionalGroupsSequence):
        raise UserError(f"{path}: the SEG describes another number of frames than it holds")
    series = [one.SeriesInstanceUID for one in seg.get("ReferencedSeriesSequence") or ()]
    regions = []
    for number in seg.segment_numbers:
        description = seg.get_segment_description(number)
        regions.append(
            Region(
                str(description.segment_label),
                str(description.segmented_property_type.meaning),
                partial(_segment, path, seg, stored, number),
            )
        )
    return Annotation(
        path, frozenset(map(str, series)), str(seg.get("FrameOfReferenceUID", "")), regions
    )


def _segment(path: Path, seg: Any, stored: NDArray[Any], number: int, grid: Grid) -> Segment:
    """Return a segment's voxels on a CT's grid.

    Raises:
        UserError: It reaches beyond the CT, or is damaged.

    Warns:
        UserWarning: Its pixels are not those of the CT, and it is resampled.
    """

    def read(_: Path) -> tuple[NDArray[np.int64], bool]:
        placed = [_voxels(path, *frame, grid) for frame in _frames(seg, stored, number)]
        on_grid = [voxels for voxels in placed if voxels is not None]
        if len(on_grid) < len(placed):
            return _resampled(seg, number, grid), True
        return np.unique(np.concatenate([*on_grid, np.empty(0, np.int64)])), False

    voxels, is_resampled = read_safely(path, read, "SEG")
    if is_resampled:
        warnings.warn(
            f"{path}: its pixels are not those of its CT; its segments are resampled to the "
            f"nearest voxels",
            stacklevel=2,
        )
    return Segment("", voxels)


def _frames(
    seg: Any, stored: NDArray[Any], number: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.float64]]]:
    """Yield pixels `(rows, columns)` and pixel-to-RAS matrix `(3, 3)` of each frame of a segment.

    The columns of the matrix are a step to the next column, one to the next row, and the first
    pixel, in mm.
    """
    shared: Any = next(iter(seg.get("SharedFunctionalGroupsSequence") or ()), {})
    kind = str(seg.SegmentationType)
    threshold = HALF * float(seg.MaximumFractionalValue) if kind == "FRACTIONAL" else 1
    for pixels, groups in zip(stored, seg.PerFrameFunctionalGroupsSequence, strict=True):
        if kind == "LABELMAP":
            inside = pixels == number
        elif _macro(groups, shared, "SegmentIdentification").ReferencedSegmentNumber == number:
            inside = pixels >= threshold
        else:
            continue
        turn = np.array(_macro(groups, shared, "PlaneOrientation").ImageOrientationPatient, float)
        rows_mm, columns_mm = map(float, _macro(groups, shared, "PixelMeasures").PixelSpacing)
        place = np.array(_macro(groups, shared, "PlanePosition").ImagePositionPatient, float)
        matrix = np.stack((turn[:3] * columns_mm, turn[3:] * rows_mm, place), axis=1)
        yield inside, LPS_TO_RAS[:3, :3] @ matrix


def _macro(groups: Any, shared: Any, name: str) -> Any:
    sequence = groups.get(f"{name}Sequence") or shared.get(f"{name}Sequence")
    return sequence[0]


def _voxels(
    path: Path, inside: NDArray[np.bool_], matrix: NDArray[np.float64], grid: Grid
) -> NDArray[np.int64] | None:
    """Return the voxels of a frame's pixels; None where they are not those of the grid.

    Raises:
        UserError: They are beyond the grid.
    """
    inverse = np.linalg.inv(grid.affine)
    steps, first = inverse[:3, :3] @ matrix[:, :2], inverse[:3, :3] @ matrix[:, 2] + inverse[:3, 3]
    whole, start = np.rint(steps), np.rint(first)
    rows, columns = inside.shape
    corners = np.array([[0, columns - 1, 0, columns - 1], [0, 0, rows - 1, rows - 1]])
    off = (steps - whole) @ corners + (first - start)[:, None]
    if np.abs(off).max() > ON_GRID or not (np.abs(whole).sum(0) == 1).all():
        return None
    row, column = np.nonzero(inside)
    places = (whole @ np.stack((column, row)) + start[:, None]).astype(np.int64)
    if (places < 0).any() or (places >= np.array(grid.shape)[:, None]).any():
        raise UserError(f"{path}: a segment reaches beyond its CT; is a part of the CT missing?")
    return np.asarray(np.ravel_multi_index(tuple(places), grid.shape), np.int64)


def _resampled(seg: Any, number: int, grid: Grid) -> NDArray[np.int64]:
    """Return a segment's voxels by nearest neighbours, from a grid that is not the CT's."""
    volume = seg.get_volume(segment_numbers=[number], combine_segments=False)
    inside = volume.array.reshape(volume.array.shape[:3]) >= HALF
    source = Volume(inside.astype(np.uint8), LPS_TO_RAS @ volume.affine)
    onto = resample_onto(source, grid.shape, grid.affine, order=0, fill=0)
    return np.flatnonzero(onto.data)
