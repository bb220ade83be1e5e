"""Voxels as a file stores them: raw, gzip or zlib, with their size checked before any is read."""

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
"""Largest size of a file's voxels, uncompressed and in their stored type (4 GiB)."""

Compression = Literal["", "gzip", "zlib"]

_MAX_RATIO = 1032  # of deflate: bytes that one compressed byte may expand to
_BLOCK = 2**20


@dataclass(frozen=True)
class StoredVoxels:
    """Location and type of a volume's voxels, as a header states them; first index fastest.

    Args:
        path: File that holds them.
        shape: Size along each axis.
        dtype: Type of a voxel, with its byte order.
        offset: Bytes before the first voxel, counted in the uncompressed stream.
        compression: Compression of the stream.
        stream_start: Byte of the file at which the stream begins.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int = 0
    compression: Compression = ""
    stream_start: int = 0

    @property
    def bytes(self) -> int:
        """Size of the voxels, uncompressed."""
        return math.prod(self.shape) * self.dtype.itemsize

    def require_plausible_size(self) -> None:
        """Check the announced size; in Python integers, because a header's may be enormous.

        Raises:
            UserError: The voxels take more than `MAX_BYTES`, or more than the file can hold.
        """
        end = self.offset + self.bytes
        if self.offset < 0:
            raise UserError(
                f"{self.path}: the header announces {self.shape} voxels from byte {self.offset} "
                f"on, before the file begins; repair the header"
            )
        if end > MAX_BYTES:
            raise UserError(
                f"{self.path}: the header announces {self.shape} voxels from byte {self.offset} "
                f"on, {end} bytes in all; the limit is {MAX_BYTES}. Is it damaged?"
            )
        size = self.path.stat().st_size
        if end > (size - self.stream_start) * (_MAX_RATIO if self.compression else 1):
            raise UserError(
                f"{self.path}: the header announces {self.shape} voxels from byte {self.offset} "
                f"on, {end} bytes in all, but the file is truncated: its {size} bytes cannot hold "
                f"them; copy or convert it again"
            )

    def read(self) -> NDArray[Any]:
        """Read all voxels; the checksum of compressed ones is verified.

        Raises:
            OSError, EOFError, zlib.error: The file is truncated or damaged.
        """
        raw = np.empty(self.bytes, np.uint8)
        with self.path.open("rb") as file:
            file.seek(self.stream_start)
            chunks = _chunks(file, self.compression)
            _fill(raw, chunks, skip=self.offset, to_end=bool(self.compression))
        data: NDArray[Any] = raw.view(self.dtype)
        return data.reshape(self.shape, order="F")


def _chunks(file: BinaryIO, compression: Compression) -> Iterator[bytes]:
    """Yield uncompressed blocks; raise at the end where a checksum does not match."""
    if compression == "zlib":
        stream = zlib.decompressobj()
        while not stream.eof:
            packed = stream.unconsumed_tail or file.read(_BLOCK)
            if not packed:
                raise EOFError("the compressed voxels end too early")
            yield stream.decompress(packed, _BLOCK)
        return
    source = gzip.GzipFile(fileobj=file) if compression == "gzip" else file
    while chunk := source.read(_BLOCK):
        yield chunk


def _fill(raw: NDArray[np.uint8], chunks: Iterator[bytes], *, skip: int, to_end: bool) -> None:
    """Copy block by block, so that memory holds the voxels once.

    With `to_end`, what follows the voxels is read too (the checksum comes last), up to `MAX_BYTES`.
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
