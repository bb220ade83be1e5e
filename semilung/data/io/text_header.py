"""What MetaImage and NRRD share: a header of text, in LPS; voxels behind it or in a file beside."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semilung.types import UserError

_BRACKETS = str.maketrans("(),", "   ")

HEADER_BYTES = 2**20
"""A header's text ends within so many bytes; no more is looked at."""


def header_block(path: Path) -> bytes:
    """The first bytes of a file, which hold its header."""
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


def text(header: bytes) -> str:
    """A header's words, in which a file's name may be anything."""
    return header.decode("utf-8", "surrogateescape")


def floats(path: Path, field: str, value: str, count: int) -> NDArray[np.float64]:
    """So many numbers of a field, parted by spaces or commas, brackets left out.

    Raises:
        UserError: More, fewer, or something else.
    """
    words = value.translate(_BRACKETS).split()
    try:
        numbers = np.array(words, np.float64)
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != count:
        raise UserError(_not_numbers(path, field, value, f"{count} numbers"))
    return numbers


def sizes_of(path: Path, field: str, value: str) -> tuple[int, ...]:
    """The whole numbers of a field.

    Raises:
        UserError: Something else.
    """
    try:
        return tuple(int(word) for word in value.split())
    except ValueError as error:
        raise UserError(_not_numbers(path, field, value, "whole numbers")) from error


def warn_of_default(path: Path, missing: Mapping[str, str]) -> None:
    """Warn of fields of place or size that a header lacks, each with what is taken for it."""
    if missing:
        warnings.warn(
            f"{path}: the header has no {', no '.join(missing)}; the format's default is taken "
            f"({', '.join(missing.values())}), so its voxel size or its place in the patient may "
            f"not be the true one",
            stacklevel=2,
        )


def _not_numbers(path: Path, field: str, value: str, wanted: str) -> str:
    return (
        f"{path}: {field} is {value[:80]!r}, where {wanted} are wanted; repair the header, or "
        f"write the file again with the program that made it"
    )


def beside(path: Path, name: str) -> Path:
    """The file of voxels that a header names; only one in the header's own folder is opened.

    Raises:
        UserError: The name leads elsewhere, or to no file.
    """
    there = path.parent / name
    if str(Path(name)) != Path(name).name:
        msg = f"{path}: its voxels are said to be in {name!r}; a header's voxels are read from a"
        raise UserError(f"{msg} file in its own folder alone: move the file there, name it so")
    try:
        found = there.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero in it
        found = False
    if not found:
        raise UserError(f"{path}: its voxels are said to be in {name!r}, and it is not beside it")
    return there
