"""NIfTI files from anywhere: what a header promises is weighed before a voxel is read.

Only the header's own block is parsed, by nibabel, and only the voxels are read: no extension, no
second file, no other format that hides behind the suffix.
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from semilung.types import UserError

MAX_BYTES = 2**32
"""A file's voxels, uncompressed and as stored, take at most so much (4 GiB); no more is read."""

_DEFLATE = 1032  # times that a gzip file may grow, at most, when it is uncompressed
_BLOCK = 2**20
_HEADERS = {348: Nifti1Header, 540: Nifti2Header}


@dataclass(frozen=True)
class Nifti:
    """An opened file: `shape`, `(4, 4)` voxel-to-mm `affine`, and `voxels()`, which reads them."""

    path: Path
    header: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """As the header tells it."""
        return tuple(int(n) for n in self.header.get_data_shape())

    @property
    def affine(self) -> NDArray[np.float64]:
        """From voxel indices to RAS+ millimetres."""
        return np.asarray(self.header.get_best_affine(), np.float64)

    @property
    def stored_bytes(self) -> int:
        """What the voxels take, uncompressed."""
        return math.prod(self.shape) * int(self.header.get_data_dtype().itemsize)

    def voxels(self) -> NDArray[Any]:
        """All voxels, scaled as the header says; a compressed file's checksum is verified.

        Raises:
            OSError, EOFError, zlib.error: The file is truncated or damaged.
        """
        raw = np.empty(self.stored_bytes, np.uint8)
        with _stream(self.path) as stream:
            stream.seek(self.header.get_data_offset())
            _fill(stream, raw)
            if _compressed(self.path):
                _run_out(stream)
        data: NDArray[Any] = raw.view(self.header.get_data_dtype())
        data = data.reshape(self.shape, order="F")
        slope, inter = self.header.get_slope_inter()
        if slope is not None:
            data = apply_read_scaling(data, np.asanyarray(slope), np.asanyarray(inter))
        return data


def open_nifti(path: Path) -> Nifti:
    """Read the header of a `.nii` or `.nii.gz` and weigh what it promises.

    Raises:
        UserError: It is no NIfTI, or promises more than `MAX_BYTES` or than the file can hold.
        OSError, EOFError, ValueError, zlib.error: It is truncated or damaged.
    """
    with _stream(path) as stream:
        block = stream.read(max(_HEADERS))
    sizes = (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big"))
    size = next((n for n in _HEADERS if n in sizes), len(block) + 1)
    if len(block) < size:
        raise UserError(
            f"{path}: the header cannot be read: this is no whole NIfTI-1 or NIfTI-2 file"
        )
    nifti = Nifti(path, _HEADERS[size](block[:size]))
    _weigh(nifti)
    return nifti


def _weigh(nifti: Nifti) -> None:
    """Refuse absurd promises; all in whole numbers, for a header's may be infinite."""
    needed = int(nifti.header.get_data_offset()) + nifti.stored_bytes
    told = f"{nifti.path}: the header announces {nifti.shape} voxels, {needed} bytes"
    if needed > MAX_BYTES:
        raise UserError(f"{told}; the limit is {MAX_BYTES}. Is it damaged?")
    size = nifti.path.stat().st_size
    if needed > size * (_DEFLATE if _compressed(nifti.path) else 1):
        msg = f"{told}, but the file is truncated: its {size} bytes cannot hold them"
        raise UserError(f"{msg}; copy or convert it again")


def _stream(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if _compressed(path) else path.open("rb")


def _compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _fill(stream: BinaryIO, raw: NDArray[np.uint8]) -> None:
    """Read in blocks, so that memory holds the voxels once."""
    for start in range(0, len(raw), _BLOCK):
        wanted = raw[start : start + _BLOCK]
        found = stream.read(len(wanted))
        if len(found) < len(wanted):
            raise EOFError(f"it ends after {start + len(found)} of {len(raw)} bytes of voxels")
        wanted[:] = np.frombuffer(found, np.uint8)


def _run_out(stream: BinaryIO) -> None:
    """Read what follows the voxels: gzip compares its checksum at the end, and not before."""
    for _ in range(MAX_BYTES // _BLOCK):
        if not stream.read(_BLOCK):
            return
