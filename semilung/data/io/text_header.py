"""Text headers, as MetaImage and NRRD have them: parsing, and the file of voxels they name."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.types import UserError

_BRACKETS = str.maketrans("(),", "   ")

MAX_HEADER_BYTES = 2**20
"""Most bytes that are searched for a header's end."""


def header_block(path: Path) -> bytes:
    """Read the first bytes of a file, which hold its header."""
    with path.open("rb") as file:
        return file.read(MAX_HEADER_BYTES)


def text(header: bytes) -> str:
    """Decode a header; the file name in it may be of any encoding."""
    return header.decode("utf-8", "surrogateescape")


def joined(numbers: Iterable[float]) -> str:
    """Format the numbers of a field, none of their digits lost.

    Example:
        >>> joined([-0.0, 0.1, 2.5])
        '0 0.10000000000000001 2.5'
    """
    return " ".join(f"{number + 0.0:.17g}" for number in numbers)


def little_endian(data: NDArray[Any]) -> NDArray[Any]:
    """Return voxels in the byte order in which they are written."""
    return data.astype(data.dtype.newbyteorder("<"), copy=False)


def floats(path: Path, field: str, value: str, count: int) -> NDArray[np.float64]:
    """Parse the `count` numbers of a field, separated by spaces, commas or brackets.

    Raises:
        UserError: The field holds another number of them, or something else.
    """
    words = value.translate(_BRACKETS).split()
    try:
        numbers = np.array(words, np.float64)
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != count:
        raise UserError(_not_numbers(path, field, value, f"{count} numbers"))
    return numbers


def whole_numbers(path: Path, field: str, value: str) -> tuple[int, ...]:
    """Parse the whole numbers of a field, separated by spaces.

    Raises:
        UserError: The field holds something else.
    """
    try:
        return tuple(int(word) for word in value.split())
    except ValueError as error:
        raise UserError(_not_numbers(path, field, value, "whole numbers")) from error


def warn_of_default(path: Path, missing: Mapping[str, str]) -> None:
    """Warn of missing fields of position or size; maps each field to the default that is used."""
    if missing:
        warnings.warn(
            f"{path}: the header has no {', no '.join(missing)}; the format's default is used "
            f"({', '.join(missing.values())}), so the voxel size or the position in the patient "
            f"may be wrong",
            stacklevel=2,
        )


def _not_numbers(path: Path, field: str, value: str, wanted: str) -> str:
    return (
        f"{path}: {field} is {value[:80]!r}, where {wanted} are wanted; repair the header, or "
        f"write the file again with the program that made it"
    )


def voxel_file(path: Path, name: str) -> Path:
    """Return the file of voxels that a header names; it must be in the header's own folder.

    Raises:
        UserError: The name leads to another folder, or to no file.
    """
    file = path.parent / name
    if str(Path(name)) != Path(name).name:
        raise UserError(
            f"{path}: the header names {name!r} as the file of its voxels, which is only read from "
            f"the header's own folder; move the file there, and name it without a folder"
        )
    try:
        exists = file.is_file()
    except (OSError, ValueError):  # a name too long, or with a NUL
        exists = False
    if not exists:
        raise UserError(
            f"{path}: the header names {name!r} as the file of its voxels, which is not in the "
            f"header's folder; put it there"
        )
    return file
