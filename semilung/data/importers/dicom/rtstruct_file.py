"""DICOM RTSTRUCT: contours, filled on the slices of their CT."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.importers.dicom.annotation import Annotation, Region
from semilung.data.importers.polygon import enclosed_pixels
from semilung.data.io.dicom.slice_file import read_safely
from semilung.data.io.grid import Grid
from semilung.data.io.opened_volume import LPS_TO_RAS
from semilung.data.io.segments import Segment

TAGS = ("StructureSetROISequence", "ROIContourSequence", "ReferencedFrameOfReferenceSequence",
        "FrameOfReferenceUID")  # fmt: skip
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")

ON_SLICE = 0.2
"""A contour whose points are within this share of a slice's distance of it is on the slice."""

MAX_POINTS = 2**16
"""Points of a contour; the border of a slice of 512 x 512 pixels has 2044."""

Contour = NDArray[np.float64]
"""Points `(N, 3)` in RAS+ mm."""


def read_rtstruct(path: Path) -> Annotation:
    """Read the closed planar contours of a structure set.

    A pixel belongs to a region if its centre is inside an odd number of its contours on the slice
    (so that a contour within another one is a hole), or on one.

    Raises:
        UserError: It is no structure set that can be read.
    """
    return read_safely(path, _annotation, "RTSTRUCT")


def _annotation(path: Path) -> Annotation:
    from pydicom import dcmread

    data = dcmread(path, stop_before_pixels=True, specific_tags=[*TAGS])
    contours = {int(roi.ReferencedROINumber): roi for roi in data.get("ROIContourSequence") or ()}
    regions = []
    for roi in data.get("StructureSetROISequence") or ():
        outlines = list(_contours(contours.get(int(roi.ROINumber), {})))
        if outlines:
            name = str(roi.get("ROIName") or f"ROI {roi.ROINumber}")
            regions.append(Region(name, "", partial(_segment, path, outlines)))
    frames = list(data.get("ReferencedFrameOfReferenceSequence") or ())
    uids = [frame.get("FrameOfReferenceUID") for frame in frames] + [
        data.get("FrameOfReferenceUID")
    ]
    series = frozenset(str(one.SeriesInstanceUID) for frame in frames for one in _series(frame))
    return Annotation(path, series, str(next((uid for uid in uids if uid), "")), regions)


def _series(frame: Any) -> Iterator[Any]:
    for study in frame.get("RTReferencedStudySequence") or ():
        yield from study.get("RTReferencedSeriesSequence") or ()


def _contours(roi: Any) -> Iterator[Contour]:
    for contour in roi.get("ContourSequence") or ():
        if contour.get("ContourGeometricType") in CLOSED:
            points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
            if not (3 <= len(points) <= MAX_POINTS and np.isfinite(points).all()):
                raise ValueError("a contour has too few or too many points, or no numbers")
            yield points @ LPS_TO_RAS[:3, :3]


def _segment(path: Path, contours: Sequence[Contour], grid: Grid) -> Segment:
    """Return a region's voxels on a CT's grid.

    Warns:
        UserWarning: Contours are on none of the CT's slices, and left out.
    """
    inverse = np.linalg.inv(grid.affine)
    columns, rows, slices = grid.shape
    odd: dict[int, NDArray[np.bool_]] = {}
    on_line: dict[int, NDArray[np.bool_]] = {}
    missed = 0
    for contour in contours:
        points = contour @ inverse[:3, :3].T + inverse[:3, 3]
        k = int(np.clip(np.rint(points[:, 2].mean()), -1, slices))
        if (
            not 0 <= k < slices
            or np.abs(points[:, 2] - k).max() > ON_SLICE
            or _is_far(points, grid)
        ):
            missed += 1
            continue
        inside, outline = enclosed_pixels(points[:, :2], (columns, rows))
        odd.setdefault(k, np.zeros((columns, rows), bool))[*inside.T] ^= True
        on_line.setdefault(k, np.zeros((columns, rows), bool))[*outline.T] = True
    if missed:
        warnings.warn(
            f"{path}: {missed} of the {len(contours)} contours of a region are on no slice of its "
            f"CT, and are left out",
            stacklevel=2,
        )
    voxels = [
        np.ravel_multi_index((*np.nonzero(odd[k] | on_line[k]), k), grid.shape) for k in sorted(odd)
    ]
    return Segment("", np.concatenate([*voxels, np.empty(0, np.int64)]))


def _is_far(points: NDArray[np.float64], grid: Grid) -> bool:
    """Return whether a contour reaches further beyond the slice than its size."""
    size = np.array(grid.shape[:2])
    return bool((points[:, :2] < -size).any() or (points[:, :2] > 2 * size).any())
