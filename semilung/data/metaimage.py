"""MetaImage files (`.mhd` with its voxels beside it, `.mha`), as LUNA16 and ITK write them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semilung.data.placed import Placed, lps_affine
from semilung.data.stored import Stored
from semilung.data.text_header import beside, floats, header_block, text
from semilung.types import UserError

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

_LINE = re.compile(rb"[ \t]*([^=\r\n]+?)[ \t]*=[ \t]*([^\r\n]*?)[ \t]*\r?\n")
_WANTED = {"NDims": "3", "ElementNumberOfChannels": "1", "HeaderSize": "0"}
_FLAGS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def open_metaimage(path: Path) -> Placed:
    """Read the header of a `.mhd` or `.mha` and weigh what it promises.

    Raises:
        UserError: It is no MetaImage that is read here, or promises more than its file can hold.
        ValueError: A field is damaged.
    """
    fields, end = _fields(path)
    for name, wanted in _WANTED.items():
        if fields.get(name, wanted) != wanted:
            msg = f"{path}: {name} = {fields[name]}, but only {wanted} is read"
            raise UserError(f"{msg}; convert the file to NIfTI")
    kind = fields.get("ElementType", "")
    if kind not in TYPES:
        msg = f"{path}: voxels of type {kind!r} are not read, only {', '.join(TYPES)}"
        raise UserError(f"{msg}; convert the file to NIfTI")
    if not _flag(_one_of(fields, "BinaryData") or "True"):
        raise UserError(f"{path}: voxels written as text are not read; convert the file to NIfTI")
    big = _flag(_one_of(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB") or "False")
    x, y, z = (int(n) for n in fields["DimSize"].split())
    name, local = fields["ElementDataFile"], fields["ElementDataFile"].upper() == "LOCAL"
    packed = _flag(fields.get("CompressedData", "False"))
    stored = Stored(
        path if local else beside(path, name),
        (x, y, z),
        np.dtype((">" if big else "<") + TYPES[kind]),
        packing="zlib" if packed else "",
        packed_at=end if local else 0,
    )
    stored.weigh()
    return Placed(stored, _affine(fields))


def _affine(fields: dict[str, str]) -> NDArray[np.float64]:
    """`TransformMatrix` holds the directions of the axes one after the other, in LPS."""
    spacing = _one_of(fields, "ElementSpacing", "ElementSize")
    directions = _one_of(fields, "TransformMatrix", "Rotation", "Orientation")
    if spacing is None or directions is None:
        raise ValueError("it has no ElementSpacing, or no TransformMatrix")
    axes = floats(directions, 9).reshape(3, 3) * floats(spacing, 3)[:, None]
    return lps_affine(axes, floats(_one_of(fields, "Offset", "Position", "Origin") or "0 0 0", 3))


def _flag(said: str) -> bool:
    if said.lower() not in _FLAGS:
        raise ValueError(f"True or False is wanted, found {said[:80]!r}")
    return _FLAGS[said.lower()]


def _one_of(fields: dict[str, str], *names: str) -> str | None:
    return next((fields[name] for name in names if name in fields), None)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """`key = value` lines up to `ElementDataFile`, the last one; and where they end."""
    block, at = header_block(path), 0
    fields: dict[str, str] = {}
    while line := _LINE.match(block + b"\n", at):
        at = line.end()
        fields[text(line[1])] = text(line[2])
        if line[1] == b"ElementDataFile":
            if "DimSize" in fields:
                return fields, at
            break
    raise UserError(
        f"{path}: the header cannot be read: this is no MetaImage with DimSize and ElementDataFile"
    )
