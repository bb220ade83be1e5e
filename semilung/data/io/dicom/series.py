"""A CT's DICOM series: a folder of slices, each a file with its position and its scale to HU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.dicom.series_choice import chosen_series, no_slices
from semilung.data.io.dicom.slice_file import (
    DicomFile,
    Slice,
    is_slice,
    read_file,
    read_pixels,
    slice_of,
)
from semilung.data.io.grid import checked_grid
from semilung.data.io.opened_volume import OpenedVolume, lps_affine
from semilung.types import UserError

MAX_SLICES = 10_000
MAX_SLICE_BYTES = 2**24
"""Folders of more files, and larger files, are refused before any is opened."""

UNEVEN, UNEVEN_MM = 0.1, 0.1
"""Tolerance of a slice's position: this share of a step, or this rounding of positions."""


def files_of_series(folder: Path) -> tuple[Path, ...]:
    """Return the slice files of a folder; annotations and indexes next to them are left out.

    Raises:
        UserError: There is none, there are too many, or one is no slice's size.
    """
    paths = tuple(sorted(path for path in folder.iterdir() if is_slice(path)))
    if not paths:
        raise UserError(no_slices(folder))
    if len(paths) > MAX_SLICES:
        raise UserError(
            f"{folder}: {len(paths)} files are no series, the limit is {MAX_SLICES}; give the "
            f"folder of one series"
        )
    for path in paths:
        if path.stat().st_size > MAX_SLICE_BYTES:
            raise UserError(
                f"{path}: a slice of more than {MAX_SLICE_BYTES} bytes is not read; is it a volume "
                f"of many frames? Convert it to NIfTI"
            )
    return paths


def open_series(folder: Path, series: str | None = None) -> OpenedVolume:
    """Open a folder's CT series: read the headers of its slices and sort them.

    Args:
        folder: Of one CT volume, with or without localisers and reports.
        series: Label of the series as `chosen_series` lists it; None for the only CT volume.

    Raises:
        UserError: pydicom is not installed, or the folder holds no evenly spaced CT series of
            single-frame slices, or several and none is named.
    """
    files = [read_file(path) for path in files_of_series(folder)]
    return open_slices(folder, chosen_series(folder, files, series))


def open_slices(folder: Path, files: Sequence[DicomFile]) -> OpenedVolume:
    """Open the volume of one series, whose headers have been read; see `open_series`."""
    slices = [slice_of(file) for file in files]
    reference = slices[len(slices) // 2]  # more likely like the others than one at an end
    for other in slices:
        if other.shape != reference.shape or not np.allclose(
            other.axes_mm, reference.axes_mm, atol=1e-3
        ):
            raise UserError(
                f"{other.path}: pixels, spacing or orientation are not those of "
                f"{reference.path.name}; one volume is wanted: move the other files elsewhere"
            )
    if len(slices) < 2:
        raise UserError(
            f"{folder}: it holds one slice, a volume has two or more; copy the whole series"
        )
    normal = np.cross(*reference.axes_mm)
    normal /= np.linalg.norm(normal)
    slices.sort(key=lambda one: float(one.origin_mm @ normal))
    step_mm = _step_mm(folder, slices, normal)
    affine = lps_affine(np.stack((*reference.axes_mm, step_mm)), slices[0].origin_mm)
    grid = checked_grid(folder, (*reference.shape, len(slices)), affine)
    return OpenedVolume(grid, tuple(one.path for one in slices), partial(_read_hu, slices))


def _read_hu(slices: Sequence[Slice]) -> NDArray[Any]:
    """Read HU `(columns, rows, slices)`: int16 where they are whole and fit, else int32 or float32.

    Raises:
        UserError: A slice is damaged, or compressed in a way that no installed decoder supports.
    """
    whole = all(one.slope == 1 and one.intercept.is_integer() for one in slices)
    data = np.empty((*slices[0].shape, len(slices)), np.int32 if whole else np.float32)
    for k, one in enumerate(slices):
        stored = read_pixels(one.path)
        if stored.shape != one.shape[::-1]:
            raise UserError(
                f"{one.path}: the header announces {one.shape[::-1]} pixels, found {stored.shape}; "
                f"copy it again"
            )
        slope, intercept = np.array([one.slope, one.intercept]).astype(data.dtype)
        data[..., k] = stored.T * slope + intercept
    limits = np.iinfo(np.int16)
    fits = whole and limits.min <= data.min() and data.max() <= limits.max
    return data.astype(np.int16) if fits else data


def _step_mm(
    folder: Path, slices: Sequence[Slice], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the vector from one slice to the next, in LPS+ mm."""
    origins = np.stack([one.origin_mm for one in slices])
    step: NDArray[np.float64] = (origins[-1] - origins[0]) / (len(slices) - 1)
    length = float(np.linalg.norm(step))
    off = np.linalg.norm(origins - origins[0] - np.arange(len(slices))[:, None] * step, axis=1)
    if off.max() > min(max(UNEVEN * length, UNEVEN_MM), 0.4 * length) or length == 0:
        gaps = np.diff(origins @ normal)
        raise UserError(
            f"{folder}: its {len(slices)} slices are not evenly spaced: {gaps.min():.3g} to "
            f"{gaps.max():.3g} mm apart, {np.median(gaps):.3g} mm in the median. Is one missing, "
            f"or there twice? Copy the series again"
        )
    return step
