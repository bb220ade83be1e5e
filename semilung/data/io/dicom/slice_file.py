"""One file of a DICOM series: read in distrust, and told of without what it says of the patient."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semilung.types import UserError

MAX_SCALE = 2**20
"""A slope or intercept beyond it is no scan's."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_FOREIGN = (
    ".xml", ".txt", ".csv", ".json", ".md", ".pdf", ".html", ".log",
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".zip", ".db", ".ini", ".inf", ".exe",
    ".raw", ".zraw", ".mhd", ".mha", ".nrrd", ".nhdr", ".nii", ".nii.gz",
    "version", "lockfile", "readme", "license",
)  # fmt: skip
"""What lies beside slices, by the end of its name, unless it is DICOM itself."""

_FIXED = {"Modality": "CT", "SamplesPerPixel": 1, "BitsAllocated": 16, "NumberOfFrames": 1}
_WANTED = (
    *_FIXED,
    "SeriesInstanceUID",
    "SeriesNumber",
    "ImageType",
    "SliceThickness",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "BitsStored",
    "HighBit",
    "ConvolutionKernel",
)
_PIXELS = (
    *_FIXED,
    "Rows",
    "Columns",
    "PhotometricInterpretation",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
"""All that is looked at; nothing of it tells who the patient is, and no message quotes a file."""

_ALONE = threading.Lock()

T = TypeVar("T")


@dataclass(frozen=True)
class DicomFile:
    """A file and what is read of its header; `undecoded` names a packing without a decoder."""

    path: Path
    header: dict[str, Any]
    undecoded: str = ""


@dataclass(frozen=True)
class Slice:
    """One file: where it lies, in LPS+ mm, and how its numbers become HU."""

    path: Path
    shape: tuple[int, int]  # columns, rows
    axes_mm: NDArray[np.float64]  # (2, 3): a step to the next column, and to the next row
    origin_mm: NDArray[np.float64]
    slope: float
    intercept: float


def read_file(path: Path) -> DicomFile:
    """The header of a file of a DICOM folder, be it a slice, a localiser or a report.

    Raises:
        UserError: It is no DICOM that can be read; or pydicom is missing.
    """
    return _read(path, _header)


def slice_of(file: DicomFile) -> Slice:
    """Where a file's slice lies, and its scale to HU.

    Raises:
        UserError: It is no single CT slice, or without place or scale, or packed in a way that no
            installed decoder knows.
    """
    path, found = file.path, file.header
    if file.undecoded:
        msg = f"{path}: its pixels are packed ({file.undecoded}), and no decoder is installed"
        raise UserError(f"{msg}; pip install pylibjpeg, or unpack the series (gdcmconv --raw)")
    found["NumberOfFrames"] = found.get("NumberOfFrames") or 1
    for name, wanted in _FIXED.items():
        if found.get(name) != wanted:
            msg = f"{path}: {name} is {printable(found.get(name))}, and only {wanted!r} is read"
            raise UserError(f"{msg}; move it out of the folder, or convert the series to NIfTI")
    try:
        made = _placed(path, found)
    except KeyError as error:
        msg = f"{path}: the slice has no {error.args[0]}, without which it has no place or no HU"
        raise UserError(f"{msg}; export the series again, or convert it to NIfTI") from error
    except (TypeError, ValueError, ArithmeticError) as error:
        msg = f"{path}: the slice's header is damaged: its numbers are none, or too few"
        raise UserError(f"{msg}; copy or export it again") from error
    numbers = (*made.axes_mm.flat, *made.origin_mm, made.slope, made.intercept)
    if not np.isfinite(numbers).all() or max(abs(made.slope), abs(made.intercept)) > MAX_SCALE:
        raise UserError(f"{path}: place or scale are no scan's; copy or export the slice again")
    return made


def _placed(path: Path, found: dict[str, Any]) -> Slice:
    rows_mm, columns_mm = (float(mm) for mm in found["PixelSpacing"])
    orientation = np.array(found["ImageOrientationPatient"], np.float64).reshape(2, 3)
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=1e-3):
        raise UserError(f"{path}: rows and columns are not at right angles; export it again")
    if not (rows_mm > 0 and columns_mm > 0 and found["HighBit"] == found["BitsStored"] - 1):
        raise UserError(f"{path}: PixelSpacing or HighBit are no CT's; export the slice again")
    return Slice(
        path,
        (int(found["Columns"]), int(found["Rows"])),
        orientation * [[columns_mm], [rows_mm]],
        np.array(found["ImagePositionPatient"], np.float64).reshape(3),
        float(found["RescaleSlope"]),
        float(found["RescaleIntercept"]),
    )


def printable(value: object) -> str:
    """A short value for a message.

    A damaged one may run into the next ones, and these tell who the patient is.
    """
    text = repr(value)
    return text if text.isascii() and text.isprintable() and len(text) <= 18 else "damaged"


def is_slice(path: Path) -> bool:
    """Whether a folder's entry is, or has to be, a slice: no annotations, no index.

    Raises:
        UserError: It is a link to nothing, or no file.
    """
    name = path.name.lower()
    if name.startswith(".") or name == "dicomdir" or path.is_dir():
        return False
    if not path.is_file():
        raise UserError(
            f"{path}: this cannot be read as a file; is it a broken link? Copy it again"
        )
    return looks_like_dicom(path) if name.endswith(_FOREIGN) else True


def looks_like_dicom(path: Path) -> bool:
    """Whether a file has DICOM's mark; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _header(path: Path) -> DicomFile:
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    syntax = read_file_meta_info(path)["TransferSyntaxUID"].value
    # pydicom unpacks a deflated file whole before it looks at it, however large it becomes.
    if syntax == _DEFLATED:
        raise UserError(f"{path}: deflated DICOM is not read; convert the series to NIfTI")
    header = dcmread(path, stop_before_pixels=True, specific_tags=[*_WANTED])
    known = {name: header[name].value for name in _WANTED if name in header}
    return DicomFile(path, known, _undecoded(syntax))


def _undecoded(syntax: Any) -> str:
    """The name of a packing that no installed decoder knows."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        known = not syntax.is_compressed or get_decoder(syntax).is_available
    except NotImplementedError:  # pixels of no kind, as a video's or a document's
        known = False
    return "" if known else str(syntax.name)


def read_pixels(path: Path) -> NDArray[Any]:
    """The numbers `(rows, columns)` that a slice stores.

    Raises:
        UserError: They are damaged.
    """
    return _read(path, _pixels)


def _pixels(path: Path) -> NDArray[Any]:
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array

    # Read first, for of a path it takes as many bytes as it needs from whatever follows.
    return pixel_array(dcmread(path, specific_tags=[*_PIXELS]), raw=True)


def _read(path: Path, how: Callable[[Path], T]) -> T:
    try:
        with _quiet():
            return how(path)
    except (UserError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        msg = "reading DICOM needs pydicom, which is not installed"
        raise UserError(f"{msg}: pip install 'semilung[dicom]', or convert to NIfTI") from error
    except OSError as error:
        raise UserError(f"{path}: the slice cannot be read ({error.strerror})") from error
    except Exception as error:  # whatever pydicom raises on a damaged file, and quotes of it
        msg = f"{path}: this is no DICOM slice that can be read ({type(error).__name__})"
        raise UserError(f"{msg}; copy it again, or move it out of the series' folder") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Pydicom warns and logs each value that is not as the standard says, and quotes it."""
    logger = logging.getLogger("pydicom")
    with _ALONE, warnings.catch_warnings():  # which threads would undo for one another
        warnings.simplefilter("ignore")
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before
