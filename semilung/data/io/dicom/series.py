"""A CT's DICOM series: a folder of slices, each a file with its position and its scale to HU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.dicom.series_choice import chosen_series, no_slices
from semilung.data.io.dicom.series_path import folder_and_series
from semilung.data.io.dicom.slice_file import (
    MAX_SLICE_BYTES,
    DicomFile,
    Slice,
    is_slice,
    looks_like_dicom,
    read_file,
    read_pixels,
    slices_of,
    too_large,
)
from semilung.data.io.grid import checked_grid
from semilung.data.io.opened_volume import OpenedVolume, lps_affine
from semilung.types import UserError

MAX_SLICES = 10_000
MAX_FILE_BYTES = 2**32
"""Folders of more files, and larger files, are refused before any is opened."""

DENSEST_HU, AIR_HU = 3071, -1024
"""Padding above the densest tissue is replaced by air. Lower padding is left as it is stored: below
air it does no harm, and within the range of tissue the header may be wrong."""

SAME_PLACE_MM = 1e-3
"""Slices nearer to each other are of the same place."""

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
        size = path.stat().st_size
        if size > MAX_FILE_BYTES or (size > MAX_SLICE_BYTES and not looks_like_dicom(path)):
            raise too_large(path)
    return paths


def open_series(folder: Path, series: str | None = None) -> OpenedVolume:
    """Open a folder's CT series: read the headers of its slices and sort them.

    Args:
        folder: Of one CT volume, with or without localisers and reports; or `folder#series`.
        series: Label of the series as `chosen_series` lists it; None for the only CT volume.

    Raises:
        UserError: pydicom is not installed, or the folder holds no evenly spaced CT series of
            single-frame slices, or several and none is named.
    """
    folder, named = folder_and_series(folder)
    files = [read_file(path) for path in files_of_series(folder)]
    return open_slices(folder, chosen_series(folder, files, named if series is None else series))


def first_header(folder: Path) -> dict[str, Any]:
    """Return the header of a file of a folder's CT series; argument and errors as `open_series`.

    Where no series is named, the first file of the folder stands for it.
    """
    folder, series = folder_and_series(folder)
    paths = files_of_series(folder)
    if series is None:
        return read_file(paths[0]).header
    return chosen_series(folder, [read_file(path) for path in paths], series)[0].header


def open_slices(folder: Path, files: Sequence[DicomFile]) -> OpenedVolume:
    """Open the volume of one series, whose headers have been read; see `open_series`."""
    slices = [one for file in files for one in slices_of(file)]
    reference = slices[len(slices) // 2]  # more likely like the others than one at an end
    for other in slices:
        if other.shape != reference.shape or not np.allclose(
            other.axes_mm, reference.axes_mm, atol=1e-3
        ):
            raise UserError(
                f"{other.path}: pixels, spacing or orientation are not those of "
                f"{reference.path.name}; one volume is wanted: move the other files elsewhere"
            )
    normal = np.cross(*reference.axes_mm)
    normal /= np.linalg.norm(normal)
    slices.sort(key=lambda one: float(one.origin_mm @ normal))
    slices = _without_copies(folder, slices)
    if len(slices) < 2:
        raise UserError(
            f"{folder}: it holds one slice, a volume has two or more; copy the whole series"
        )
    step_mm = _step_mm(folder, slices, normal)
    affine = lps_affine(np.stack((*reference.axes_mm, step_mm)), slices[0].origin_mm)
    grid = checked_grid(folder, (*reference.shape, len(slices)), affine)
    files_in_order = tuple(dict.fromkeys(one.path for one in slices))
    return OpenedVolume(grid, files_in_order, partial(read_hu, slices))


def _without_copies(folder: Path, slices: Sequence[Slice]) -> list[Slice]:
    """Return sorted slices without those that are there twice, as after sending a scan twice.

    Raises:
        UserError: Slices of one place differ, as those of several phases of a heartbeat do.
    """
    distinct: list[Slice] = []
    for one in slices:
        if not distinct or np.linalg.norm(one.origin_mm - distinct[-1].origin_mm) > SAME_PLACE_MM:
            distinct.append(one)
        elif not np.array_equal(_hu(distinct[-1]), _hu(one)):
            raise UserError(
                f"{folder}: {one.path.name} and {distinct[-1].path.name} are slices of the same "
                f"place with different pixels, so these are several volumes, or one slice is there "
                f"twice; give each volume a folder of its own"
            )
    return distinct


def _hu(one: Slice) -> NDArray[np.float64]:
    hu: NDArray[np.float64] = read_pixels(one.path)[one.frame] * one.slope + one.intercept
    return hu


def read_hu(slices: Sequence[Slice]) -> NDArray[Any]:
    """Read HU `(columns, rows, slices)`: int16 where they are whole and fit, else int32 or float32.

    Raises:
        UserError: A slice is damaged, or compressed in a way that no installed decoder supports.
    """
    whole = all(one.slope == 1 and one.intercept.is_integer() for one in slices)
    data = np.empty((*slices[0].shape, len(slices)), np.int32 if whole else np.float32)
    by_file: dict[Path, list[int]] = {}
    for k, one in enumerate(slices):
        by_file.setdefault(one.path, []).append(k)
    for path, numbers in by_file.items():
        stored = read_pixels(path)
        for k in numbers:
            _fill_slice(data[..., k], stored, slices[k])
    limits = np.iinfo(np.int16)
    fits = whole and limits.min <= data.min() and data.max() <= limits.max
    return data.astype(np.int16) if fits else data


def _fill_slice(out: NDArray[Any], stored: NDArray[Any], one: Slice) -> None:
    """Write the HU of a slice into `(columns, rows)`."""
    if stored.shape[1:] != one.shape[::-1] or one.frame >= len(stored):
        raise UserError(
            f"{one.path}: the header announces {one.shape[::-1]} pixels, found "
            f"{stored.shape[1:]}; copy it again"
        )
    pixels = stored[one.frame].T
    slope, intercept = np.array([one.slope, one.intercept]).astype(out.dtype)
    out[...] = pixels * slope + intercept
    if one.padding is not None:
        low, high = one.padding
        if min(low * one.slope, high * one.slope) + one.intercept > DENSEST_HU:
            out[(pixels >= low) & (pixels <= high)] = AIR_HU


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
