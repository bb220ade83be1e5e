"""Prepared volumes on disk: one blosc2 file a field, a checksum a chunk, crops at random access."""

from __future__ import annotations

import fcntl
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from semilung.data.volume import Shape
from semilung.files import whole_file
from semilung.types import UserError

CHUNK = 32
"""Edge of a chunk in voxels: a 40-voxel crop touches 2 to 3 a side."""


@dataclass
class Entry:
    """An open store file: the array, what was said of it, and which chunks have been verified."""

    path: Path
    array: Any
    meta: dict[str, Any]
    checksums: NDArray[np.uint32]
    verified: set[int] = field(default_factory=set)

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        x, y, z = self.array.shape
        return (x, y, z)

    def read(self, slices: tuple[slice, slice, slice] | None = None) -> NDArray[Any]:
        """Voxels within `slices` (all by default), after verifying the chunks that hold them.

        Raises:
            UserError: A chunk is not what was written.
        """
        slices = slices or (slice(0, None), slice(0, None), slice(0, None))
        for number in self._chunks(slices):
            if number not in self.verified:
                self._verify(number)
        try:
            data: NDArray[Any] = self.array[slices]
        except RuntimeError as error:  # chunks are whole, and what is said of them is not
            raise self._damaged("a header") from error
        return data

    def _chunks(self, slices: tuple[slice, slice, slice]) -> list[int]:
        """Numbers, in C order, of the chunks that the slices touch."""
        shape, chunks = self.array.shape, self.array.chunks
        grid = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
        spans = []
        for cut, n, c in zip(slices, shape, chunks, strict=True):
            start, stop, _ = cut.indices(n)
            spans.append(range(start // c, -(-stop // c)))
        return [(x * grid[1] + y) * grid[2] + z for x, y, z in product(*spans)]

    def _verify(self, number: int) -> None:
        try:
            sound = zlib.crc32(self.array.schunk.get_chunk(number)) == self.checksums[number]
        except (RuntimeError, OSError, ValueError):
            sound = False
        if not sound:
            raise self._damaged(f"chunk {number}")
        self.verified.add(number)

    def _damaged(self, what: str) -> UserError:
        remedy = "delete the file and run `semilung data prepare` again"
        return UserError(f"{self.path}: {what} of the cache is damaged; {remedy}")


def write_entry(path: Path, data: NDArray[Any], meta: dict[str, Any]) -> None:
    """Store a volume with its `meta`; the file appears under its name only when it is whole.

    Args:
        path: Where, ending in `.b2nd`.
        data: `(X, Y, Z)` int16 or uint8.
        meta: Plain values, lists and bytes.
    """
    with whole_file(path, suffix=".b2nd") as temporary, _disk_errors():
        chunks = tuple(min(CHUNK, n) for n in data.shape)
        array = blosc2.asarray(
            np.ascontiguousarray(data),
            urlpath=str(temporary),
            mode="w",
            chunks=chunks,
            blocks=chunks,
            cparams={"codec": blosc2.Codec.ZSTD, "clevel": 4, "nthreads": 1},
            dparams={"nthreads": 1},
        )
        numbers = range(array.schunk.nchunks)
        sums = np.array([zlib.crc32(array.schunk.get_chunk(i)) for i in numbers], np.uint32)
        array.schunk.vlmeta["semilung"] = {**meta, "crc32": sums.tobytes()}


@contextmanager
def _disk_errors() -> Iterator[None]:
    """What blosc2 makes of a disk that refuses is a RuntimeError; let it be what it is."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error


@contextmanager
def filling(cache: Path) -> Iterator[None]:
    """Hold a cache folder while entries are written; others may hold it too.

    Who holds it alone at the start removes what killed runs left half-written in it.

    Raises:
        UserError: There is no such folder and none can be made.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = os.open(cache, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"the cache {cache} cannot be used: {error}; set data.cache") from error
    try:
        with suppress(OSError):  # others are at work, or the file system has no locks
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in cache.glob("??/.*.b2nd"):
                left.unlink(missing_ok=True)
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_SH)
        yield
    finally:
        os.close(folder)


@lru_cache(maxsize=128)
def open_entry(path: Path) -> Entry:
    """Open a stored volume: the last 128 stay open here (some 30 MB) and are never pickled.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
        meta = dict(array.schunk.vlmeta["semilung"])
        entry = Entry(path, array, meta, np.frombuffer(meta.pop("crc32"), np.uint32))
        _require_layout(entry)
    except Exception as error:  # blosc2 has no error of its own for a damaged file
        remedy = "delete the file, if it exists, and run `semilung data prepare` again"
        raise UserError(
            f"{path}: the cached volume cannot be opened ({error}); {remedy}"
        ) from error
    return entry


def _require_layout(entry: Entry) -> None:
    """Refuse a shape, chunks or number type other than what `write_entry` writes."""
    shape, array = entry.shape, entry.array
    chunks = tuple(min(CHUNK, n) for n in shape)
    count = math.prod(-(-n // c) for n, c in zip(shape, chunks, strict=True))
    known = array.dtype in (np.dtype(np.int16), np.dtype(np.uint8)) and array.chunks == chunks
    if not known or count != len(entry.checksums):
        raise ValueError(f"{array.dtype} {shape} in {array.chunks} is not what was written")


def read_crop(entry: Entry, start: Shape, size: Shape) -> NDArray[Any]:
    """The box of `size` voxels at `start`; beyond its borders the volume goes on mirrored."""
    axes = [_mirrored(*axis) for axis in zip(start, size, entry.shape, strict=True)]
    x, y, z = (slice(int(axis.min()), int(axis.max()) + 1) for axis in axes)
    data = entry.read((x, y, z))
    inside = all(
        low >= 0 and low + extent <= n
        for low, extent, n in zip(start, size, entry.shape, strict=True)
    )
    return data if inside else data[np.ix_(*(axis - axis.min() for axis in axes))]


def _mirrored(start: int, size: int, n: int) -> NDArray[np.int64]:
    """Where positions from `start` on lie in a line of n voxels: `1 0 | 0 1 ... n-1 | n-1 n-2`."""
    positions = np.arange(start, start + size) % (2 * n)
    return np.minimum(positions, 2 * n - 1 - positions)
