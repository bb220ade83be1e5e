"""NRRD files (`.nrrd`, or `.nhdr` with a file of voxels), as 3D Slicer writes them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.grid import Affine, Grid, checked_grid
from semilung.data.io.nrrd_space import (
    TO_LPS,
    SpatialAxes,
    several_volumes,
    spatial_axes,
    units_mm,
)
from semilung.data.io.opened_volume import LPS_TO_RAS, OpenedVolume, lps_affine
from semilung.data.io.slicer_segments import (
    StoredSegment,
    labelled_segments,
    stored_segments,
)
from semilung.data.io.stored_voxels import Compression, StoredVoxels
from semilung.data.io.text_header import (
    MAX_HEADER_BYTES,
    floats,
    header_block,
    joined,
    little_endian,
    text,
    voxel_file,
    warn_of_default,
    whole_numbers,
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

_COMPRESSIONS: dict[str, Compression] = {"raw": "", "gzip": "gzip", "gz": "gzip"}
_ORDERS = {"little": "<", "big": ">"}
_TYPE_CODES = {name: code for code, names in TYPES.items() for name in names}
_T = TypeVar("_T")
_MAGIC = re.compile(r"NRRD000[1-5]\r?")
_LINE = re.compile(r"([^:]+)(: |:=)(.*)")
_END = re.compile(rb"\r?\n\r?\n")


def open_nrrd(path: Path, segments: Sequence[str] = ()) -> OpenedVolume:
    """Open a `.nrrd` or `.nhdr`: read its header and check the sizes that it states.

    A segmentation of 3D Slicer is a mask, with a label for each segment (`labelled_segments`).

    Args:
        path: The file.
        segments: Names of the segments of a mask; all of them by default.

    Raises:
        UserError: It is no NRRD, uses a feature that is not supported, or announces more voxels
            than its file can hold; or a segment is named, and the file is no segmentation.
    """
    fields, end = _fields(path)
    sizes = whole_numbers(path, "sizes", fields["sizes"])
    if fields.get("dimension", "") != str(len(sizes)):
        raise UserError(
            f"{path}: dimension is {fields.get('dimension')}, but sizes are {fields['sizes']!r}; "
            f"repair the header"
        )
    axes = spatial_axes(path, fields, sizes)
    listed = stored_segments(path, fields, axes.layers)
    if not listed and axes.layers != 1:
        raise several_volumes(path, sizes)
    stored = _stored_voxels(path, fields, sizes, end)
    grid = _grid(path, fields, axes)
    if not listed and segments:
        raise UserError(
            f"{path}: its header names no segments, as that of a .seg.nrrd of 3D Slicer does; "
            f"leave the option segments out"
        )
    read = partial(_read_labels, path, stored, axes, listed, segments or ("*",))
    return OpenedVolume(grid, (stored.path,), read if listed else stored.read)


def _read_labels(
    path: Path,
    stored: StoredVoxels,
    axes: SpatialAxes,
    listed: Sequence[StoredSegment],
    segments: Sequence[str],
) -> NDArray[np.uint8]:
    layers = np.moveaxis(stored.read(), axes.layer_axis, 0) if axes.layers > 1 else stored.read()
    return labelled_segments(path, listed, segments, layers.reshape(axes.layers, *axes.sizes))


def _stored_voxels(
    path: Path, fields: dict[str, str], sizes: tuple[int, ...], end: int
) -> StoredVoxels:
    """Return where the voxels are and of which type; errors as `open_nrrd`."""
    kind = _choice(path, fields, "type", _TYPE_CODES)
    compression = _choice(path, fields, "encoding", _COMPRESSIONS)
    for name in ("line skip", "lineskip", "byte skip", "byteskip"):
        if fields.get(name, "0") != "0":
            raise UserError(f"{path}: a {name} is not read; convert the file to NIfTI")
    order = "<" if kind.endswith("1") else _choice(path, fields, "endian", _ORDERS)
    data_file = fields.get("data file", fields.get("datafile"))
    stored = StoredVoxels(
        path if data_file is None else voxel_file(path, data_file),
        sizes,
        np.dtype(order + kind),
        compression=compression,
        stream_start=end if data_file is None else 0,
    )
    stored.require_plausible_size()
    return stored


def _grid(path: Path, fields: dict[str, str], axes: SpatialAxes) -> Grid:
    signs = np.array(_choice(path, fields, "space", TO_LPS))
    vectors = floats(path, "space directions", axes.directions, 9).reshape(3, 3)
    warn_of_default(path, {} if "space origin" in fields else {"space origin": "0"})
    origin = floats(path, "space origin", fields.get("space origin", "0 0 0"), 3)
    to_mm = signs * units_mm(path, fields)
    return checked_grid(path, axes.sizes, lps_affine(vectors * to_mm, origin * to_mm))


def write_nrrd(path: Path, data: NDArray[Any], affine: Affine) -> None:
    """Write a `.nrrd`, compressed, with the voxels in the same file.

    Args:
        path: The file.
        data: `(X, Y, Z)`, of one of `TYPES`.
        affine: `(4, 4)`, voxel indices to RAS+ mm.
    """
    voxels, to_lps = little_endian(data), LPS_TO_RAS @ affine
    lines = (
        "NRRD0004",
        f"type: {TYPES[voxels.dtype.str[1:]][0]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, data.shape))}",
        f"space directions: {' '.join(map(_vector, to_lps[:3, :3].T))}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(to_lps[:3, 3])}",
    )
    packed = gzip.compress(voxels.tobytes(order="F"), compresslevel=1, mtime=0)
    path.write_bytes("\n".join((*lines, "\n")).encode() + packed)


def _vector(numbers: NDArray[np.float64]) -> str:
    return f"({joined(numbers).replace(' ', ',')})"


def _choice(path: Path, fields: dict[str, str], name: str, choices: dict[str, _T]) -> _T:
    value = fields.get(name, "").lower()
    if value not in choices:
        raise UserError(
            f"{path}: {name} {value[:80]!r} is not read, only {', '.join(choices)}; convert the "
            f"file to NIfTI"
        )
    return choices[value]


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the `field: value` lines (`key:=value` under `key:=`), and the header's last byte."""
    block = header_block(path)
    blank = _END.search(block)
    head, end = (block[: blank.start()], blank.end()) if blank else (block, len(block))
    magic, *lines = text(head).split("\n")
    parts = (_LINE.match(line) for line in lines if not line.startswith("#"))
    fields = {
        part[1].strip().lower() + part[2].strip(": "): part[3].strip() for part in parts if part
    }
    if not _MAGIC.fullmatch(magic) or not {"sizes", "space directions"} <= set(fields):
        raise UserError(
            f"{path}: the header cannot be read: this is no NRRD with sizes, space directions and "
            f"space; without them the scan's orientation is unknown"
        )
    detached = not {"data file", "datafile"}.isdisjoint(fields)
    if not blank and (len(block) == MAX_HEADER_BYTES or not detached):
        raise UserError(
            f"{path}: the header cannot be read: no empty line ends it within {MAX_HEADER_BYTES} "
            f"bytes; write the file again"
        )
    return fields, end
