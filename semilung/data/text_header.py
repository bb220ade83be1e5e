"""What MetaImage and NRRD share: a header of text, in LPS; voxels behind it or in a file beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semilung.types import UserError

HEADER_BYTES = 2**20
"""A header's text ends within so many bytes; no more is looked at."""


def header_block(path: Path) -> bytes:
    """The first bytes of a file, which hold its header."""
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


def text(header: bytes) -> str:
    """A header's words, in which a file's name may be anything."""
    return header.decode("utf-8", "surrogateescape")


def floats(text: str, count: int) -> NDArray[np.float64]:
    """So many numbers, parted by spaces or commas, brackets left out.

    Raises:
        ValueError: More, fewer, or something else.
    """
    found = np.array(text.translate(str.maketrans("(),", "   ")).split(), np.float64)
    if len(found) != count:
        raise ValueError(f"{count} numbers are wanted, found {text[:80]!r}")
    return found


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
