"""Voxels as a file stores them: plain, in gzip or in zlib, weighed before any is read."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from semilung.types import UserError

MAX_BYTES = 2**32
"""A file's voxels, uncompressed and as stored, take at most so much (4 GiB); no more is read."""

Packing = Literal["", "gzip", "zlib"]

_DEFLATE = 1032  # times that deflated bytes may grow, at most, when they are unpacked
_BLOCK = 2**20


@dataclass(frozen=True)
class Stored:
    """Where a header says that its voxels lie, the first index running fastest.

    Args:
        path: File that holds them.
        shape: As the header tells it.
        dtype: Type of a voxel, with its byte order.
        offset: Bytes before the voxels, of what has been unpacked.
        packing: How what follows `packed_at` is packed.
        packed_at: Bytes before that.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int = 0
    packing: Packing = ""
    packed_at: int = 0

    @property
    def files(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.path,)

    @property
    def bytes(self) -> int:
        """What the voxels take, unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize

    def weigh(self) -> None:
        """Refuse absurd promises; all in whole numbers, for a header's may be infinite.

        Raises:
            UserError: More than `MAX_BYTES`, or than the file can hold.
        """
        needed = self.offset + self.bytes
        told = (
            f"{self.path}: the header announces {self.shape} voxels from byte {self.offset} on, "
            f"{needed} bytes in all"
        )
        if self.offset < 0:
            raise UserError(f"{told}, that begin before the file does; repair the header")
        if needed > MAX_BYTES:
            raise UserError(f"{told}; the limit is {MAX_BYTES}. Is it damaged?")
        size = self.path.stat().st_size
        if needed > (size - self.packed_at) * (_DEFLATE if self.packing else 1):
            msg = f"{told}, but the file is truncated: its {size} bytes cannot hold them"
            raise UserError(f"{msg}; copy or convert it again")

    def voxels(self) -> NDArray[Any]:
        """All voxels; the checksum of packed ones is verified.

        Raises:
            OSError, EOFError, zlib.error: The file is truncated or damaged.
        """
        raw = np.empty(self.bytes, np.uint8)
        with self.path.open("rb") as file:
            file.seek(self.packed_at)
            _fill(raw, _chunks(file, self.packing), skip=self.offset, to_end=bool(self.packing))
        data: NDArray[Any] = raw.view(self.dtype)
        return data.reshape(self.shape, order="F")


def _chunks(file: BinaryIO, packing: Packing) -> Iterator[bytes]:
    """The unpacked bytes in blocks; of packed ones, an error unless the checksum holds."""
    if packing == "zlib":
        unpack = zlib.decompressobj()
        while not unpack.eof:
            packed = unpack.unconsumed_tail or file.read(_BLOCK)
            if not packed:
                raise EOFError("the packed voxels end too early")
            yield unpack.decompress(packed, _BLOCK)
        return
    stream = gzip.GzipFile(fileobj=file) if packing == "gzip" else file
    while chunk := stream.read(_BLOCK):
        yield chunk


def _fill(raw: NDArray[np.uint8], chunks: Iterator[bytes], *, skip: int, to_end: bool) -> None:
    """Copy block by block, so that memory holds the voxels once.

    What follows packed voxels is read too, for the checksum comes last, but not without end.
    """
    at, enough = -skip, MAX_BYTES if to_end else len(raw)
    for chunk in chunks:
        part = chunk[max(-at, 0) : max(len(raw) - at, 0)]
        raw[max(at, 0) : max(at, 0) + len(part)] = np.frombuffer(part, np.uint8)
        at += len(chunk)
        if at >= enough:
            break
    if at < len(raw):
        raise EOFError(f"it ends after {max(at, 0)} of {len(raw)} bytes of voxels")
