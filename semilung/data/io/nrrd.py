"""NRRD files (`.nrrd`, and `.nhdr` with its voxels beside it), as 3D Slicer writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import numpy as np

from semilung.data.io.nrrd_space import TO_LPS, spatial_axes, units_mm
from semilung.data.io.placed_voxels import Placed, lps_affine
from semilung.data.io.stored_voxels import Packing, Stored
from semilung.data.io.text_header import (
    HEADER_BYTES,
    beside,
    floats,
    header_block,
    sizes_of,
    text,
    warn_of_default,
)
from semilung.types import UserError

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}

_PACKINGS: dict[str, Packing] = {"raw": "", "gzip": "gzip", "gz": "gzip"}
_ORDERS = {"little": "<", "big": ">"}
_NAMES = {name: code for code, names in TYPES.items() for name in names}
_T = TypeVar("_T")
_MAGIC = re.compile(r"NRRD000[1-5]\r?")
_LINE = re.compile(r"([^:]+)(: |:=)(.*)")
_END = re.compile(rb"\r?\n\r?\n")


def open_nrrd(path: Path) -> Placed:
    """Read the header of a `.nrrd` or `.nhdr` and weigh what it promises.

    Raises:
        UserError: It is no NRRD that is read here, or promises more than its file can hold.
    """
    fields, end = _fields(path)
    kind = _known(path, fields, "type", _NAMES)
    packing = _known(path, fields, "encoding", _PACKINGS)
    signs = np.array(_known(path, fields, "space", TO_LPS))
    for name in ("line skip", "lineskip", "byte skip", "byteskip"):
        if fields.get(name, "0") != "0":
            raise UserError(f"{path}: a {name} is not read; convert the file to NIfTI")
    order = "<" if kind.endswith("1") else _known(path, fields, "endian", _ORDERS)
    voxels = fields.get("data file", fields.get("datafile"))
    sizes = sizes_of(path, "sizes", fields["sizes"])
    if fields.get("dimension", "") != str(len(sizes)):
        raise UserError(
            f"{path}: dimension is {fields.get('dimension')}, but sizes are {fields['sizes']!r}; "
            f"repair the header"
        )
    sizes, directions = spatial_axes(path, fields, sizes)
    stored = Stored(
        path if voxels is None else beside(path, voxels),
        sizes,
        np.dtype(order + kind),
        packing=packing,
        packed_at=end if voxels is None else 0,
    )
    stored.weigh()
    axes = floats(path, "space directions", directions, 9).reshape(3, 3)
    warn_of_default(path, {} if "space origin" in fields else {"space origin": "0"})
    origin = floats(path, "space origin", fields.get("space origin", "0 0 0"), 3)
    to_mm = signs * units_mm(path, fields)
    return Placed(stored, lps_affine(axes * to_mm, origin * to_mm))


def _known(path: Path, fields: dict[str, str], name: str, known: dict[str, _T]) -> _T:
    found = fields.get(name, "").lower()
    if found not in known:
        msg = f"{path}: {name} {found[:80]!r} is not read, only {', '.join(known)}"
        raise UserError(f"{msg}; convert the file to NIfTI")
    return known[found]


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """`field: value` lines up to an empty one, `key:=value` as `key:=`, no comments; their end."""
    block = header_block(path)
    found = _END.search(block)
    head, end = (block[: found.start()], found.end()) if found else (block, len(block))
    magic, *lines = text(head).split("\n")
    parts = (_LINE.match(line) for line in lines if not line.startswith("#"))
    fields = {
        part[1].strip().lower() + part[2].strip(": "): part[3].strip() for part in parts if part
    }
    if not _MAGIC.fullmatch(magic) or not {"sizes", "space directions"} <= set(fields):
        msg = f"{path}: the header cannot be read: this is no NRRD with sizes, space directions"
        raise UserError(f"{msg} and space; without them nobody knows how the scan lies")
    if not found and (len(block) == HEADER_BYTES or not {"data file", "datafile"} & set(fields)):
        msg = f"{path}: the header cannot be read: no empty line ends it, within {HEADER_BYTES}"
        raise UserError(f"{msg} bytes; write the file again")
    return fields, end
