"""Prepared volumes on disk: a blosc2 file a field, checksums of all it holds, crops at random."""

from __future__ import annotations

import fcntl
import json
import os
import resource
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

from semilung.data.io.grid import Shape
from semilung.exhaustion import exhausted
from semilung.files import DiskFullError, whole_file
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
        meta: Plain values, lists and bytes; every number is finite.

    Raises:
        UserError: The disk refuses, or a number of `meta` is not finite.
    """
    with (
        whole_file(path, suffix=".b2nd", size=data.nbytes) as temporary,
        _disk_errors(temporary, data.nbytes),
    ):
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
        layout = {"shape": list(data.shape), "dtype": data.dtype.str}
        record = {"meta": meta, **layout, "crc32": sums.tobytes()}
        try:
            array.schunk.vlmeta["semilung"] = {**record, "checksum": _checksum(record)}
        except ValueError as error:
            raise UserError(
                f"{path}: a number of the metadata is not finite ({error}); check the affine of "
                "the volume that it was prepared from"
            ) from error


@contextmanager
def _disk_errors(path: Path, size: int) -> Iterator[None]:
    """What blosc2 makes of a disk that refuses is a RuntimeError without the reason.

    Writing as much once more finds it.
    """
    try:
        yield
    except RuntimeError as error:
        with path.open("wb") as file:
            file.write(bytes(size))
        raise OSError(str(error)) from error


def _checksum(record: dict[str, Any]) -> int:
    """CRC-32 of a record's values, which no damage to how they are packed can leave unnoticed.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(record, default=bytes.hex, allow_nan=False, sort_keys=True)
    return zlib.crc32(text.encode())


@contextmanager
def filling(cache: Path) -> Iterator[None]:
    """Hold a cache folder while entries are written; others may hold it too.

    Who holds it alone at the start removes what killed runs left half-written in it.

    Raises:
        UserError: There is no such folder and none can be made, or its disk is full.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = os.open(cache, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"the cache {cache} cannot be used: {error}; set data.cache") from error
    try:
        with suppress(OSError):  # others are at work, or the file system has no locks
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in cache.glob("??/.*.b2nd"):  # also of other machines
                left.unlink(missing_ok=True)
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_SH)
        yield
    except DiskFullError as error:
        raise DiskFullError(
            f"{error}. Volumes that are prepared stay; the cache {cache} lies where data.cache=... "
            f"or SEMILUNG_CACHE says"
        ) from error
    finally:
        os.close(folder)


def _open_at_once() -> int:
    """Entries that stay open: 128, or a quarter of the files that a process may open."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 128 if allowed == resource.RLIM_INFINITY else max(4, min(128, allowed // 4))


def _require_access(path: Path) -> None:
    """Refuse a file that the system does not open, for which blosc2 gives no reason.

    Raises:
        UserError: It exists, and may not or cannot be opened now.
    """
    try:
        path.open("rb").close()
    except FileNotFoundError:
        return
    except OSError as error:
        reason = exhausted(error) or error.strerror
        raise UserError(f"{path}: the cached volume cannot be opened: {reason}") from error


@lru_cache(maxsize=_open_at_once())
def open_entry(path: Path) -> Entry:
    """Open a stored volume: the last ones stay open here (some 30 MB) and are never pickled.

    Raises:
        UserError: The file is missing or damaged.
    """
    _require_access(path)
    try:
        array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
        record = dict(array.schunk.vlmeta["semilung"])
        if record.pop("checksum", None) != _checksum(record):
            raise ValueError("its metadata are not what was written")
        _require_layout(array, record)
        checksums = np.frombuffer(record["crc32"], np.uint32)
    except MemoryError:
        raise
    except Exception as error:  # blosc2 has no error of its own for a damaged file
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{path}: the cached volume cannot be opened ({reason}); delete the file, "
            "if it exists, and run `semilung data prepare` again"
        ) from error
    return Entry(path, array, record["meta"], checksums)


def _require_layout(array: Any, record: dict[str, Any]) -> None:
    """Refuse a header that takes the chunks for other voxels than `write_entry` was given."""
    shape = tuple(record["shape"])
    chunks = tuple(min(CHUNK, n) for n in shape)
    layout = (array.shape, array.dtype.str, array.chunks, array.blocks)
    if layout != (shape, record["dtype"], chunks, chunks):
        raise ValueError(f"{array.dtype} {array.shape} in {array.chunks} is not what was written")


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
