"""MetaImage files (`.mha`, or `.mhd` with a file of voxels), as LUNA16 and ITK write them."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.grid import Affine, checked_grid
from semilung.data.io.opened_volume import LPS_TO_RAS, OpenedVolume, lps_affine
from semilung.data.io.stored_voxels import StoredVoxels
from semilung.data.io.text_header import (
    floats,
    header_block,
    joined,
    little_endian,
    text,
    voxel_file,
    warn_of_default,
    whole_numbers,
)
from semilung.data.io.units import unit_mm
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
_REQUIRED = {"NDims": "3", "ElementNumberOfChannels": "1", "HeaderSize": "0"}
_GEOMETRY = (
    ("ElementSpacing", ("ElementSize",), "1 1 1", "voxels of 1 mm"),
    ("TransformMatrix", ("Rotation", "Orientation"), "1 0 0 0 1 0 0 0 1",
     "axes to the left, to posterior and to superior"),
    ("Offset", ("Position", "Origin"), "0 0 0", "an origin at 0"),
)  # fmt: skip
"""Field, its other names, MetaIO's default, and what that means."""
_FLAGS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def open_metaimage(path: Path) -> OpenedVolume:
    """Open a `.mhd` or `.mha`: read its header and check the sizes that it states.

    Raises:
        UserError: It is no MetaImage, uses a feature that is not supported, or announces more
            voxels than its file can hold.
    """
    fields, end = _fields(path)
    for name, required in _REQUIRED.items():
        if fields.get(name, required) != required:
            raise UserError(
                f"{path}: {name} = {fields[name][:80]!r}, but only {required} is read; convert the "
                f"file to NIfTI"
            )
    kind = fields.get("ElementType", "")
    if kind not in TYPES:
        raise UserError(
            f"{path}: voxels of type {kind[:80]!r} are not read, only {', '.join(TYPES)}; convert "
            f"the file to NIfTI"
        )
    if not _flag(path, fields, "BinaryData", default=True):
        raise UserError(f"{path}: voxels written as text are not read; convert the file to NIfTI")
    order = (
        "BinaryDataByteOrderMSB" if "BinaryDataByteOrderMSB" in fields else "ElementByteOrderMSB"
    )
    big_endian = _flag(path, fields, order, default=False)
    shape = whole_numbers(path, "DimSize", fields["DimSize"])
    if len(shape) != 3:
        raise UserError(f"{path}: DimSize is {shape}, where NDims says 3; repair the header")
    name, local = fields["ElementDataFile"], fields["ElementDataFile"].upper() == "LOCAL"
    compressed = _flag(path, fields, "CompressedData", default=False)
    stored = StoredVoxels(
        path if local else voxel_file(path, name),
        shape,
        np.dtype((">" if big_endian else "<") + TYPES[kind]),
        compression="zlib" if compressed else "",
        stream_start=end if local else 0,
    )
    stored.require_plausible_size()
    return OpenedVolume(
        checked_grid(path, shape, _affine(path, fields)), (stored.path,), stored.read
    )


def write_metaimage(path: Path, data: NDArray[Any], affine: Affine) -> None:
    """Write a `.mha`, compressed, with the voxels in the same file.

    Args:
        path: The file.
        data: `(X, Y, Z)`, of one of `TYPES`.
        affine: `(4, 4)`, voxel indices to RAS+ mm.
    """
    voxels = little_endian(data)
    kind = next(name for name, code in TYPES.items() if code == voxels.dtype.str[1:])
    to_lps = LPS_TO_RAS @ affine
    edges_mm = np.linalg.norm(affine[:3, :3], axis=0)
    packed = zlib.compress(voxels.tobytes(order="F"), level=1)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(packed)),
        "TransformMatrix": joined((to_lps[:3, :3] / edges_mm).T.ravel()),
        "Offset": joined(to_lps[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": joined(edges_mm),
        "DimSize": " ".join(map(str, data.shape)),
        "ElementType": kind,
        "ElementDataFile": "LOCAL",
    }
    header = "".join(f"{name} = {value}\n" for name, value in fields.items())
    path.write_bytes(header.encode() + packed)


def _affine(path: Path, fields: dict[str, str]) -> Affine:
    """Return the affine; `TransformMatrix` lists the axes' directions one after the other, in LPS.

    Missing fields get MetaIO's defaults, with a warning.
    """
    values, missing = {}, {}
    for name, others, default, meaning in _GEOMETRY:
        field = next((word for word in (name, *others) if word in fields), None)
        if field is None:
            missing[name] = meaning
        value = fields[field] if field else default
        values[name] = floats(path, field or name, value, len(default.split()))
    warn_of_default(path, missing)
    spacing, origin = values["ElementSpacing"], values["Offset"]
    mm = unit_mm(path, "DistanceUnits", fields.get("DistanceUnits", "mm"))
    axes = values["TransformMatrix"].reshape(3, 3) * spacing[:, None]
    return lps_affine(axes * mm, origin * mm)


def _flag(path: Path, fields: dict[str, str], name: str, *, default: bool) -> bool:
    value = fields.get(name, str(default))
    if value.lower() not in _FLAGS:
        raise UserError(
            f"{path}: {name} is {value[:80]!r}, where True or False is wanted; repair the header"
        )
    return _FLAGS[value.lower()]


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the `key = value` lines up to `ElementDataFile`, the last one, and their last byte."""
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
