"""A CT's DICOM series: a folder of slices, each a file with its place and its scale to HU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.dicom.series_choice import chosen_series, no_slices
from semilung.data.io.dicom.slice_file import Slice, is_slice, read_file, read_pixels, slice_of
from semilung.data.io.placed_voxels import Placed, lps_affine
from semilung.types import UserError

MAX_SLICES = 10_000
MAX_SLICE_BYTES = 2**24
"""Folders of more files, and larger files, are refused before any is opened."""

UNEVEN, UNEVEN_MM = 0.1, 0.1
"""A slice may be off its place by this share of a step; or by as much as positions are rounded."""


@dataclass(frozen=True)
class Series:
    """Slices in order."""

    slices: Sequence[Slice]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        return (*self.slices[0].shape, len(self.slices))

    @property
    def files(self) -> tuple[Path, ...]:
        """One a slice."""
        return tuple(one.path for one in self.slices)

    def voxels(self) -> NDArray[Any]:
        """HU `(columns, rows, slices)`: int16 where they are whole and fit, else int32 or float32.

        Raises:
            UserError: A slice is damaged, or packed in a way that no installed decoder knows.
        """
        whole = all(s.slope == 1 and s.intercept.is_integer() for s in self.slices)
        data = np.empty(self.shape, np.int32 if whole else np.float32)
        for k, slice_ in enumerate(self.slices):
            stored = read_pixels(slice_.path)
            if stored.shape != slice_.shape[::-1]:
                msg = f"{slice_.path}: {slice_.shape[::-1]} pixels are announced"
                raise UserError(f"{msg}, found {stored.shape}; copy it again")
            slope, intercept = np.array([slice_.slope, slice_.intercept]).astype(data.dtype)
            data[..., k] = stored.T * slope + intercept
        small = np.iinfo(np.int16)
        fits = whole and small.min <= data.min() and data.max() <= small.max
        return data.astype(np.int16) if fits else data


def files_of_series(folder: Path) -> tuple[Path, ...]:
    """The files of a folder that are, or have to be, slices: no annotations, no index.

    Raises:
        UserError: There is none, there are too many, or one cannot be one.
    """
    found = tuple(sorted(path for path in folder.iterdir() if is_slice(path)))
    if not found:
        raise UserError(no_slices(folder))
    if len(found) > MAX_SLICES:
        raise UserError(f"{folder}: {len(found)} files are no series, the limit is {MAX_SLICES}")
    for path in found:
        if path.stat().st_size > MAX_SLICE_BYTES:
            msg = f"{path}: a slice of more than {MAX_SLICE_BYTES} bytes is not read"
            raise UserError(f"{msg}; is it a volume of many frames? Convert it to NIfTI")
    return found


def open_series(folder: Path, series: str | None = None) -> Placed:
    """Read the headers of a folder's slices and put them in order.

    Args:
        folder: Of one CT volume, with localisers and reports next to it or not.
        series: Which one, as `chosen_series` takes it; None where it is evident.

    Raises:
        UserError: pydicom is not installed, or the folder holds other than one evenly spaced CT
            series of single-frame slices, and none of several is named.
    """
    files = [read_file(path) for path in files_of_series(folder)]
    slices = [slice_of(file) for file in chosen_series(folder, files, series)]
    first = slices[len(slices) // 2]  # more likely like the others than one at an end
    for other in slices:
        if other.shape != first.shape or not np.allclose(other.axes_mm, first.axes_mm, atol=1e-3):
            msg = f"{other.path}: pixels, spacing or orientation are not those of {first.path.name}"
            raise UserError(f"{msg}; one volume is wanted: move what is not of it elsewhere")
    if len(slices) < 2:
        raise UserError(f"{folder}: it holds one slice; a volume has two or more")
    across = np.cross(*first.axes_mm)
    across /= np.linalg.norm(across)
    slices.sort(key=lambda one: float(one.origin_mm @ across))
    step = _step(folder, slices, across)
    affine = lps_affine(np.stack((*first.axes_mm, step)), slices[0].origin_mm)
    return Placed(Series(slices), affine)


def _step(
    folder: Path, slices: Sequence[Slice], across: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From one slice to the next, in LPS+ mm."""
    origins = np.stack([one.origin_mm for one in slices])
    step: NDArray[np.float64] = (origins[-1] - origins[0]) / (len(slices) - 1)
    step_mm = float(np.linalg.norm(step))
    off = np.linalg.norm(origins - origins[0] - np.arange(len(slices))[:, None] * step, axis=1)
    if off.max() > min(max(UNEVEN * step_mm, UNEVEN_MM), 0.4 * step_mm) or step_mm == 0:
        gaps = np.diff(origins @ across)
        msg = f"{folder}: its {len(slices)} slices are not evenly spaced: {gaps.min():.3g} to"
        msg += f" {gaps.max():.3g} mm apart, in the middle {np.median(gaps):.3g} mm"
        raise UserError(f"{msg}. Is one missing, or there twice? Copy the series again")
    return step
