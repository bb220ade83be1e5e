"""A CT's DICOM series: a folder of slices, each a file with its place and its scale to HU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semilung.data.placed import Placed, lps_affine
from semilung.types import UserError

MAX_SLICES = 10_000
MAX_SLICE_BYTES = 2**24
"""Folders of more files, and larger files, are refused before any is opened."""

MAX_SCALE = 2**20
"""A slope or intercept beyond it is no scan's."""

UNEVEN = 0.1
"""A slice may be off its place by this share of a step."""

_NO_SLICES = {
    ".xml",
    ".txt",
    ".csv",
    ".json",
    ".md",
    ".pdf",
    ".html",
    ".png",
    ".jpg",
    ".gz",
    ".nii",
}
_DEFLATED = "1.2.840.10008.1.2.1.99"
_FIXED = {"Modality": "CT", "SamplesPerPixel": 1, "BitsAllocated": 16, "NumberOfFrames": 1}
_WANTED = (
    *_FIXED,
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleSlope",
    "RescaleIntercept",
)
_PIXELS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
"""All that is looked at; nothing of it tells who the patient is."""

T = TypeVar("T")


@dataclass(frozen=True)
class Slice:
    """One file: where it lies, in LPS+ mm, and how its numbers become HU."""

    path: Path
    series: str
    shape: tuple[int, int]  # columns, rows
    axes_mm: NDArray[np.float64]  # (2, 3): a step to the next column, and to the next row
    origin_mm: NDArray[np.float64]
    slope: float
    intercept: float


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
            stored = _read(slice_.path, _pixels)
            if stored.shape != slice_.shape[::-1]:
                msg = f"{slice_.path}: {slice_.shape[::-1]} pixels are announced"
                raise UserError(f"{msg}, found {stored.shape}; copy it again")
            slope, intercept = np.array([slice_.slope, slice_.intercept]).astype(data.dtype)
            data[..., k] = stored.T * slope + intercept
        small = np.iinfo(np.int16)
        fits = whole and small.min <= data.min() and data.max() <= small.max
        return data.astype(np.int16) if fits else data


def files_of_series(folder: Path) -> tuple[Path, ...]:
    """The files of a folder that are taken for slices, by name: no annotations, no index.

    Raises:
        UserError: There is none, there are too many, or one is too large.
    """
    found = tuple(sorted(path for path in folder.iterdir() if _may_be_slice(path)))
    if not found:
        msg = f"{folder}: this is a folder without DICOM slices; give a scan's file, or the folder"
        raise UserError(f"{msg} of one DICOM series")
    if len(found) > MAX_SLICES:
        raise UserError(f"{folder}: {len(found)} files are no series, the limit is {MAX_SLICES}")
    for path in found:
        if path.stat().st_size > MAX_SLICE_BYTES:
            msg = f"{path}: a slice of more than {MAX_SLICE_BYTES} bytes is not read"
            raise UserError(f"{msg}; is it a volume of many frames? Convert it to NIfTI")
    return found


def open_series(folder: Path) -> Placed:
    """Read the headers of a folder's slices and put them in order.

    Raises:
        UserError: pydicom is not installed, or the folder holds other than one evenly spaced CT
            series of single-frame slices.
    """
    slices = [_slice(path) for path in files_of_series(folder)]
    series = {one.series for one in slices}
    if len(series) > 1:
        msg = f"{folder}: its {len(slices)} slices are of {len(series)} series"
        raise UserError(f"{msg}; give each series, scouts too, a folder of its own")
    first = slices[0]
    for other in slices:
        if other.shape != first.shape or not np.allclose(other.axes_mm, first.axes_mm, atol=1e-3):
            msg = f"{other.path}: pixels, spacing or orientation are not those of {first.path.name}"
            raise UserError(f"{msg}; one volume is wanted, its slices alike")
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
    if step_mm == 0 or off.max() > UNEVEN * step_mm:
        gaps = np.diff(origins @ across)
        msg = f"{folder}: its {len(slices)} slices are not evenly spaced: {gaps.min():.3g} to"
        msg += f" {gaps.max():.3g} mm apart, in the middle {np.median(gaps):.3g} mm"
        raise UserError(f"{msg}. Is one missing, or there twice? Copy the series again")
    if step @ across < 0.999 * step_mm:
        msg = f"{folder}: its slices are sheared (the gantry was tilted)"
        raise UserError(f"{msg}; resample the scan to an upright grid and give it as NIfTI")
    return step


def _slice(path: Path) -> Slice:
    found = _read(path, _header)
    found["NumberOfFrames"] = found.get("NumberOfFrames") or 1
    for name, wanted in _FIXED.items():
        if found.get(name) != wanted:
            msg = f"{path}: {name} is {found.get(name)!r}, and only {wanted!r} is read"
            raise UserError(f"{msg}; convert the series to NIfTI")
    try:
        made = _placed(path, found)
    except KeyError as error:
        msg = f"{path}: the slice has no {error.args[0]}, without which it has no place or no HU"
        raise UserError(f"{msg}; export the series again, or convert it to NIfTI") from error
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{path}: the slice's header is damaged ({error}); copy or export it again"
        raise UserError(msg) from error
    numbers = (*made.axes_mm.flat, *made.origin_mm, made.slope, made.intercept)
    if not np.isfinite(numbers).all() or max(abs(made.slope), abs(made.intercept)) > MAX_SCALE:
        raise UserError(f"{path}: place or scale are no scan's; copy or export the slice again")
    return made


def _placed(path: Path, found: dict[str, Any]) -> Slice:
    rows_mm, columns_mm = (float(mm) for mm in found["PixelSpacing"])
    orientation = np.array(found["ImageOrientationPatient"], np.float64).reshape(2, 3)
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=1e-3):
        raise ValueError(f"directions {orientation.tolist()} are not at right angles")
    return Slice(
        path,
        str(found["SeriesInstanceUID"]),
        (int(found["Columns"]), int(found["Rows"])),
        orientation * [[columns_mm], [rows_mm]],
        np.array(found["ImagePositionPatient"], np.float64).reshape(3),
        float(found["RescaleSlope"]),
        float(found["RescaleIntercept"]),
    )


def _may_be_slice(path: Path) -> bool:
    name = path.name
    known = name.startswith(".") or name == "DICOMDIR" or path.suffix.lower() in _NO_SLICES
    return not known and path.is_file()


def _header(path: Path) -> dict[str, Any]:
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    # pydicom unpacks a deflated file whole before it looks at it, however large it becomes.
    if read_file_meta_info(path).get("TransferSyntaxUID") == _DEFLATED:
        raise UserError(f"{path}: deflated DICOM is not read; convert the series to NIfTI")
    header = dcmread(path, stop_before_pixels=True, specific_tags=[*_WANTED])
    return {name: header[name].value for name in _WANTED if name in header}


def _pixels(path: Path) -> NDArray[Any]:
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array

    # Read first, for of a path it takes as many bytes as it needs from whatever follows.
    return pixel_array(dcmread(path, specific_tags=[*_PIXELS]), raw=True)


def _read(path: Path, how: Callable[[Path], T]) -> T:
    try:
        with warnings.catch_warnings():  # of each value that is not as the standard says
            warnings.simplefilter("ignore")
            return how(path)
    except (UserError, MemoryError):
        raise
    except ImportError as error:
        msg = "reading DICOM needs pydicom, which is not installed"
        raise UserError(f"{msg}: pip install 'semilung[dicom]', or convert to NIfTI") from error
    except Exception as error:  # whatever pydicom raises on a damaged file
        told = " ".join(str(error).split())[:200]
        msg = f"{path}: this is no DICOM slice that can be read ({told})"
        raise UserError(f"{msg}; a series' folder holds its slices alone") from error
