"""One file of a DICOM series: header, pixels and errors without any of the patient's data.

Only the listed tags are read, and no message quotes a value of a file except by `printable`.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semilung.types import UserError

MAX_SCALE = 2**20
"""Largest slope or intercept of a scan."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_FOREIGN = (
    ".xml", ".txt", ".csv", ".json", ".md", ".pdf", ".html", ".log",
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".zip", ".db", ".ini", ".inf", ".exe",
    ".raw", ".zraw", ".mhd", ".mha", ".nrrd", ".nhdr", ".nii", ".nii.gz",
    "version", "lockfile", "readme", "license",
)  # fmt: skip
"""Name endings of other files in a series' folder, unless they have DICOM's mark."""

_FIXED = {"Modality": "CT", "SamplesPerPixel": 1, "BitsAllocated": 16, "NumberOfFrames": 1}
_HEADER_TAGS = (
    *_FIXED,
    "StudyInstanceUID",
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
_PIXEL_TAGS = (
    *_FIXED,
    "Rows",
    "Columns",
    "PhotometricInterpretation",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
"""The only tags that are read; none of them identifies the patient."""

_LOCK = threading.Lock()

T = TypeVar("T")


@dataclass(frozen=True)
class DicomFile:
    """A file and tags of its header; `undecoded` names a compression without a decoder."""

    path: Path
    header: dict[str, Any]
    undecoded: str = ""


@dataclass(frozen=True)
class Slice:
    """One slice: its position in LPS+ mm and its scale to HU."""

    path: Path
    shape: tuple[int, int]  # columns, rows
    axes_mm: NDArray[np.float64]  # (2, 3): a step to the next column, and to the next row
    origin_mm: NDArray[np.float64]
    slope: float
    intercept: float


def read_file(path: Path) -> DicomFile:
    """Read the header of a file of a DICOM folder: a slice, a localiser or a report.

    Raises:
        UserError: It is no readable DICOM, or pydicom is missing.
    """
    return _read(path, _header)


def read_tags(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read further tags of a file, for a use that needs them; those that it lacks are left out.

    The caller sees to it that no output or message holds a value that identifies the patient.

    Raises:
        UserError: It is no readable DICOM, or pydicom is missing.
    """
    return _read(path, partial(_tags, names=names))


def slice_of(file: DicomFile) -> Slice:
    """Return the position of a file's slice, and its scale to HU.

    Raises:
        UserError: It is no single CT slice, lacks its position or scale, or is compressed in a way
            that no installed decoder supports.
    """
    path, header = file.path, file.header
    if file.undecoded:
        raise UserError(
            f"{path}: its pixels are compressed ({file.undecoded}), and no decoder is installed; "
            f"pip install pylibjpeg, or decompress the series (gdcmconv --raw)"
        )
    header["NumberOfFrames"] = header.get("NumberOfFrames") or 1
    for name, required in _FIXED.items():
        if header.get(name) != required:
            raise UserError(
                f"{path}: {name} is {printable(header.get(name))}, and only {required!r} is read; "
                f"move it out of the folder, or convert the series to NIfTI"
            )
    try:
        one = _parsed(path, header)
    except KeyError as error:
        raise UserError(
            f"{path}: the slice has no {error.args[0]}, without which its position or its HU are "
            f"unknown; export the series again, or convert it to NIfTI"
        ) from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(
            f"{path}: the slice's header is damaged: values that must be numbers are not, or some "
            f"are missing; copy or export it again"
        ) from error
    numbers = (*one.axes_mm.flat, *one.origin_mm, one.slope, one.intercept)
    if not np.isfinite(numbers).all() or max(abs(one.slope), abs(one.intercept)) > MAX_SCALE:
        raise UserError(
            f"{path}: the slice's position, slope or intercept is none of a scan; copy or export "
            f"it again"
        )
    return one


def _parsed(path: Path, header: dict[str, Any]) -> Slice:
    rows_mm, columns_mm = (float(mm) for mm in header["PixelSpacing"])
    orientation = np.array(header["ImageOrientationPatient"], np.float64).reshape(2, 3)
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=1e-3):
        raise UserError(f"{path}: rows and columns are not at right angles; export it again")
    if not (rows_mm > 0 and columns_mm > 0 and header["HighBit"] == header["BitsStored"] - 1):
        raise UserError(f"{path}: PixelSpacing or HighBit is none of a CT; export the slice again")
    return Slice(
        path,
        (int(header["Columns"]), int(header["Rows"])),
        orientation * [[columns_mm], [rows_mm]],
        np.array(header["ImagePositionPatient"], np.float64).reshape(3),
        float(header["RescaleSlope"]),
        float(header["RescaleIntercept"]),
    )


def printable(value: object) -> str:
    """Return a short value for a message, "damaged" for any other.

    A damaged value may run into the next ones, which may identify the patient.
    """
    text = repr(value)
    return text if text.isascii() and text.isprintable() and len(text) <= 18 else "damaged"


def is_slice(path: Path) -> bool:
    """Return whether a folder's entry should be a slice: no subfolder, annotation or index.

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
    """Return whether a file has DICOM's mark; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _header(path: Path) -> DicomFile:
    from pydicom.filereader import read_file_meta_info

    syntax = read_file_meta_info(path)["TransferSyntaxUID"].value
    # pydicom inflates a deflated file whole before it parses it, however large it becomes.
    if syntax == _DEFLATED:
        raise UserError(f"{path}: deflated DICOM is not read; convert the series to NIfTI")
    return DicomFile(path, _tags(path, _HEADER_TAGS), _undecoded(syntax))


def _tags(path: Path, names: Sequence[str]) -> dict[str, Any]:
    from pydicom import dcmread

    header = dcmread(path, stop_before_pixels=True, specific_tags=[*names])
    return {name: header[name].value for name in names if name in header}


def _undecoded(syntax: Any) -> str:
    """Return the name of a compression that no installed decoder supports; empty for others."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decodable = not syntax.is_compressed or get_decoder(syntax).is_available
    except NotImplementedError:  # no image, such as a video or a document
        decodable = False
    return "" if decodable else str(syntax.name)


def read_pixels(path: Path) -> NDArray[Any]:
    """Read the stored values of a slice, `(rows, columns)`.

    Raises:
        UserError: They are damaged.
    """
    return _read(path, _pixels)


def _pixels(path: Path) -> NDArray[Any]:
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array

    # pixel_array(path) would take missing bytes from whatever follows the pixels in the file.
    return pixel_array(dcmread(path, specific_tags=[*_PIXEL_TAGS]), raw=True)


def _read(path: Path, read: Callable[[Path], T]) -> T:
    """Call `read`, and turn its errors into UserErrors that quote nothing of the file."""
    try:
        with _quiet():
            return read(path)
    except (UserError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        raise UserError(
            "reading DICOM needs pydicom, which is not installed: pip install 'semilung[dicom]', "
            "or convert to NIfTI"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: the slice cannot be read ({error.strerror}); check the file and its disk"
        ) from error
    except Exception as error:  # pydicom raises anything on a damaged file, and quotes it
        raise UserError(
            f"{path}: this is no DICOM slice that can be read ({type(error).__name__}); copy it "
            f"again, or move it out of the series' folder"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pydicom, whose warnings and logs quote values that violate the standard."""
    logger = logging.getLogger("pydicom")
    with _LOCK, warnings.catch_warnings():  # threads would undo each other's settings
        warnings.simplefilter("ignore")
        was_disabled, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = was_disabled
