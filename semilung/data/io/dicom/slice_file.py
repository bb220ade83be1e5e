"""One file of a DICOM series: header, pixels and errors without any of the patient's data.

Only the listed tags are read, and no message quotes a value of a file except by `printable`.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.dicom.frame_tags import FRAME_GROUPS, frame_tags
from semilung.types import UserError

MAX_SLICE_BYTES = 2**24
"""A larger file of one slice is not read."""

MAX_SCALE = 2**20
"""Largest slope or intercept of a scan."""

_PIXEL_TAG_BYTES = 8
"""Shortest tag and length before the pixels."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_SLICE_SUFFIX = re.compile(r"|\.(dcm|dicom|dic|ima|img|[0-9]+)")
"""Suffixes of slices, which are read, or refused as damaged, even without DICOM's mark."""

_FOREIGN = ("version", "lockfile", "readme", "license", "makefile")
"""Names without a suffix of other files in a series' folder, unless they have DICOM's mark."""

_FIXED = {"Modality": "CT", "SamplesPerPixel": 1, "BitsAllocated": 16, "NumberOfFrames": 1}
_HEADER_TAGS = (
    *_FIXED,
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "Manufacturer",
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
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
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
    """A file and tags of its header.

    Attributes:
        path: The file.
        header: Tag to value; of an enhanced file those of the first frame too.
        frames: Of an enhanced file, tags in which frames differ from the header.
        undecoded: Name of a compression without a decoder.
        pixel_bytes: Size of what follows the header; None where the pixels are compressed.
    """

    path: Path
    header: dict[str, Any]
    frames: tuple[dict[str, Any], ...] = ()
    undecoded: str = ""
    pixel_bytes: int | None = None


@dataclass(frozen=True)
class Slice:
    """One slice: its position in LPS+ mm and its scale to HU.

    `padding` are the lowest and highest stored value outside of the image.
    """

    path: Path
    shape: tuple[int, int]  # columns, rows
    axes_mm: NDArray[np.float64]  # (2, 3): a step to the next column, and to the next row
    origin_mm: NDArray[np.float64]
    slope: float
    intercept: float
    padding: tuple[int, int] | None = None
    frame: int = 0


def read_file(path: Path) -> DicomFile:
    """Read the header of a file of a DICOM folder: a slice, a localiser or a report.

    Raises:
        UserError: It is no readable DICOM, or pydicom is missing.
    """
    return read_safely(path, _header)


def read_tags(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read further tags of a file, for a use that needs them; those that it lacks are left out.

    The caller sees to it that no output or message holds a value that identifies the patient.

    Raises:
        UserError: It is no readable DICOM, or pydicom is missing.
    """
    return read_safely(path, partial(_tags, names=names))


def slices_of(file: DicomFile) -> list[Slice]:
    """Return the positions of a file's slices, and their scales to HU.

    Raises:
        UserError: It is no CT slice, or slices, lacks a position or scale, is truncated, or is
            compressed in a way that no installed decoder supports.
    """
    path, header = file.path, file.header
    if file.undecoded:
        raise UserError(
            f"{path}: its pixels are compressed ({file.undecoded}), and no decoder is installed; "
            f"pip install 'semilung[dicom]', or decompress the series (gdcmconv --raw)"
        )
    if file.frames and header.get("NumberOfFrames", 1) != len(file.frames):
        raise UserError(
            f"{path}: its header announces another number of frames than it describes; export it "
            f"again"
        )
    frames = [{**header, **frame, "NumberOfFrames": 1} for frame in file.frames]
    slices = [_slice(path, one, k) for k, one in enumerate(frames or [header])]
    _require_size(file, slices)
    return slices


def _slice(path: Path, header: dict[str, Any], frame: int) -> Slice:
    header["NumberOfFrames"] = header.get("NumberOfFrames") or 1
    for name, required in _FIXED.items():
        if header.get(name) != required:
            raise UserError(
                f"{path}: {name} is {printable(header.get(name))}, and only {required!r} is read; "
                f"move it out of the folder, or convert the series to NIfTI"
            )
    try:
        one = _parsed(path, header, frame)
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
    if (
        not np.isfinite(numbers).all()
        or max(abs(one.slope), abs(one.intercept)) > MAX_SCALE
        or one.slope == 0
    ):
        raise UserError(
            f"{path}: the slice's position, slope or intercept is none of a scan; copy or export "
            f"it again"
        )
    return one


def _require_size(file: DicomFile, slices: Sequence[Slice]) -> None:
    """Raise UserError if a file is too small for its pixels, or too large for one slice."""
    if not file.frames and file.path.stat().st_size > MAX_SLICE_BYTES:
        raise too_large(file.path)
    columns, rows = slices[0].shape
    needed = 2 * columns * rows * len(slices)
    if file.pixel_bytes is not None and file.pixel_bytes < needed:
        raise UserError(
            f"{file.path}: the file is truncated: it holds {file.pixel_bytes} of the {needed} "
            f"bytes of its {len(slices)} x {rows} x {columns} pixels; copy it again"
        )


def too_large(path: Path) -> UserError:
    """Return the error of a file that is too large for a slice."""
    return UserError(
        f"{path}: a slice of more than {MAX_SLICE_BYTES} bytes is not read; is it a volume of many "
        f"frames? Convert it to NIfTI"
    )


def _parsed(path: Path, header: dict[str, Any], frame: int) -> Slice:
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
        _padding(header),
        frame,
    )


def _padding(header: dict[str, Any]) -> tuple[int, int] | None:
    """Return the range of stored values that mark pixels outside of the image.

    Files state them as signed and as unsigned, whatever the pixels are.
    """
    value = header.get("PixelPaddingValue")
    limit = header.get("PixelPaddingRangeLimit", value)
    if not isinstance(value, int) or not isinstance(limit, int):
        return None
    half = 2**15 if header.get("PixelRepresentation") == 1 else 0
    low, high = sorted((number + half) % 2**16 - half for number in (value, limit))
    return low, high


def printable(value: object) -> str:
    """Return a short value for a message, "damaged" for any other.

    A damaged value may run into the next ones, which may identify the patient.
    """
    text = repr(value)
    return text if text.isascii() and text.isprintable() and len(text) <= 18 else "damaged"


def is_slice(path: Path) -> bool:
    """Return whether a folder's entry should be a slice: no subfolder, annotation or index.

    A file without DICOM's mark is one if its name looks like a slice's, so that a damaged slice is
    not silently left out of its volume.

    Raises:
        UserError: It cannot be read as a file, such as a link that leads to none.
    """
    name = path.name.lower()
    if name.startswith(".") or name == "dicomdir" or path.is_dir():
        return False
    if not path.is_file():
        raise UserError(
            f"{path}: this cannot be read as a file; is it a broken link? Copy it again"
        )
    is_named_so = name not in _FOREIGN and _SLICE_SUFFIX.fullmatch(path.suffix.lower())
    return bool(is_named_so) or looks_like_dicom(path)


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
    with path.open("rb") as stream:
        header = _tags(stream, (*_HEADER_TAGS, *FRAME_GROUPS))
        rest = max(path.stat().st_size - stream.tell() - _PIXEL_TAG_BYTES, 0)
    frames = frame_tags(*(header.pop(name, None) for name in FRAME_GROUPS))
    header = {**(frames[0] if frames else {}), **header}
    pixel_bytes = None if syntax.is_compressed else rest
    return DicomFile(path, header, frames, _undecoded(syntax), pixel_bytes)


def _tags(file: Path | BinaryIO, names: Sequence[str]) -> dict[str, Any]:
    from pydicom import dcmread

    header = dcmread(file, stop_before_pixels=True, specific_tags=[*names])
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
    """Read the stored values of a file's slices, `(frames, rows, columns)`.

    Raises:
        UserError: They are damaged.
    """
    return read_safely(path, _pixels)


def _pixels(path: Path) -> NDArray[Any]:
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array

    # pixel_array(path) would take missing bytes from whatever follows the pixels in the file.
    stored = pixel_array(dcmread(path, specific_tags=[*_PIXEL_TAGS]), raw=True)
    return stored[None] if stored.ndim == 2 else stored


def read_safely(path: Path, read: Callable[[Path], T], what: str = "slice") -> T:
    """Call `read`, and turn its errors into UserErrors that quote nothing of the file.

    Args:
        path: The file.
        read: Returns what is wanted of it.
        what: What it is, for messages.

    Raises:
        UserError: It is no DICOM that can be read, or a library is missing.
    """
    try:
        with quiet_pydicom():
            return read(path)
    except (UserError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        raise UserError(
            "reading DICOM needs pydicom and highdicom, of which one is not installed: pip install "
            "'semilung[dicom]', or convert to NIfTI"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: the {what} cannot be read ({error.strerror}); check the file and its disk"
        ) from error
    except Exception as error:  # pydicom raises anything on a damaged file, and quotes it
        raise UserError(
            f"{path}: this is no DICOM {what} that can be read ({type(error).__name__}); copy it "
            f"again, or move it out of the series' folder"
        ) from error


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom and highdicom, which quote values that violate the standard."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    with _LOCK, warnings.catch_warnings():  # threads would undo each other's settings
        warnings.simplefilter("ignore")
        were_disabled = [logger.disabled for logger in loggers]
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, was_disabled in zip(loggers, were_disabled, strict=True):
                logger.disabled = was_disabled
