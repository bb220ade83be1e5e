"""Prepared volumes on disk: one blosc2 file a field, with checksums and random access to crops."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import blosc2
import numpy as np
from numpy.typing import NDArray

from semilung.data.io.grid import Shape
from semilung.exhaustion import exhausted
from semilung.files import DiskFullError, whole_file
from semilung.types import UserError

CHUNK = 32
"""Edge of a chunk in voxels; a 40-voxel crop touches 2 to 3 of them along each axis."""


class StoredVolume(Protocol):
    """A volume that `PreparedCase` reads: an `Entry` of the cache, or an array in memory."""

    @property
    def shape(self) -> Shape: ...  # noqa: D102
    @property
    def meta(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def checksums(self) -> NDArray[np.uint32]: ...  # noqa: D102
    def read(self, slices: tuple[slice, slice, slice] | None = None) -> NDArray[Any]: ...  # noqa: D102


@dataclass
class Entry:
    """An open cache file: array, metadata, and the chunks that have been verified."""

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
        """Read the voxels within `slices` (all by default), after verifying their chunks.

        Raises:
            UserError: A chunk is damaged.
        """
        slices = slices or (slice(0, None), slice(0, None), slice(0, None))
        for number in self._chunks(slices):
            if number not in self.verified:
                self._verify(number)
        try:
            data: NDArray[Any] = self.array[slices]
        except RuntimeError as error:  # chunks are intact, their description is not
            raise self._damaged("a header") from error
        return data

    def _chunks(self, slices: tuple[slice, slice, slice]) -> list[int]:
        """Return the numbers, in C order, of the chunks that the slices touch."""
        shape, chunks = self.array.shape, self.array.chunks
        grid = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
        spans = []
        for cut, n, c in zip(slices, shape, chunks, strict=True):
            start, stop, _ = cut.indices(n)
            spans.append(range(start // c, -(-stop // c)))
        return [(x * grid[1] + y) * grid[2] + z for x, y, z in product(*spans)]

    def _verify(self, number: int) -> None:
        try:
            is_intact = zlib.crc32(self.array.schunk.get_chunk(number)) == self.checksums[number]
        except (RuntimeError, OSError, ValueError):
            is_intact = False
        if not is_intact:
            raise self._damaged(f"chunk {number}")
        self.verified.add(number)

    def _damaged(self, part: str) -> UserError:
        return UserError(
            f"{self.path}: {part} of the cache is damaged; delete the file and run `semilung data "
            f"prepare` again"
        )


def write_entry(path: Path, data: NDArray[Any], meta: dict[str, Any]) -> None:
    """Store a volume with its metadata, atomically.

    Args:
        path: File name that ends in `.b2nd`.
        data: `(X, Y, Z)` int16 or uint8.
        meta: Plain values, lists and bytes; numbers must be finite.

    Raises:
        UserError: The file cannot be written, or a number of `meta` is not finite.
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
                f"the source volume"
            ) from error


@contextmanager
def _disk_errors(path: Path, size: int) -> Iterator[None]:
    """Turn blosc2's RuntimeError, which lacks a reason, into the OSError of a second write."""
    try:
        yield
    except RuntimeError as error:
        with path.open("wb") as file:
            file.write(bytes(size))
        raise OSError(str(error)) from error


def _checksum(record: dict[str, Any]) -> int:
    """Return the CRC-32 of a record's values, which detects any damage to their encoding.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(record, default=bytes.hex, allow_nan=False, sort_keys=True)
    return zlib.crc32(text.encode())


@contextmanager
def filling(cache: Path) -> Iterator[None]:
    """Hold a shared lock on a cache folder while entries are written.

    A process that gets the lock exclusively at the start removes half-written files of killed runs.

    Raises:
        UserError: The folder cannot be made or used, or its disk is full.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = os.open(cache, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"the cache {cache} cannot be used: {error}; set data.cache") from error
    try:
        with suppress(OSError):  # another run uses it, or the file system has no locks
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for temporary in cache.glob("??/.*.b2nd"):  # also of other machines
                temporary.unlink(missing_ok=True)
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_SH)
        yield
    except DiskFullError as error:
        raise DiskFullError(
            f"{error}. Prepared volumes are kept; data.cache=... or SEMILUNG_CACHE move the cache "
            f"{cache} to another disk"
        ) from error
    finally:
        os.close(folder)


def _max_open() -> int:
    """Return how many entries stay open: 128, or a quarter of the process's file limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 128 if limit == resource.RLIM_INFINITY else max(4, min(128, limit // 4))


def _require_access(path: Path) -> None:
    """Raise UserError with the system's reason for a file that exists but cannot be opened.

    blosc2 gives no reason.
    """
    try:
        path.open("rb").close()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(
            f"{path}: the cached volume cannot be opened: "
            f"{exhausted(error) or f'{error.strerror}; check the file and its disk'}"
        ) from error


@lru_cache(maxsize=_max_open())
def open_entry(path: Path) -> Entry:
    """Open a stored volume; the last ones stay open in a process-wide cache (about 30 MB).

    Raises:
        UserError: The file is missing or damaged.
    """
    _require_access(path)
    try:
        array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
        record = dict(array.schunk.vlmeta["semilung"])
        if record.pop("checksum", None) != _checksum(record):
            raise ValueError("its metadata differ from those written")
        _require_layout(array, record)
        checksums = np.frombuffer(record["crc32"], np.uint32)
    except MemoryError:
        raise
    except Exception as error:  # blosc2 raises anything for a damaged file
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{path}: the cached volume cannot be opened ({reason}); delete the file, "
            "if it exists, and run `semilung data prepare` again"
        ) from error
    return Entry(path, array, record["meta"], checksums)


def _require_layout(array: Any, record: dict[str, Any]) -> None:
    """Raise ValueError where a header describes other voxels than `write_entry` stored."""
    shape = tuple(record["shape"])
    chunks = tuple(min(CHUNK, n) for n in shape)
    layout = (array.shape, array.dtype.str, array.chunks, array.blocks)
    if layout != (shape, record["dtype"], chunks, chunks):
        raise ValueError(f"{array.dtype} {array.shape} in {array.chunks} differs from the record")


def read_crop(entry: StoredVolume, start: Shape, size: Shape) -> NDArray[Any]:
    """Read the box of `size` voxels at `start`; beyond its borders the volume is reflected."""
    axes = [_mirrored(*axis) for axis in zip(start, size, entry.shape, strict=True)]
    x, y, z = (slice(int(axis.min()), int(axis.max()) + 1) for axis in axes)
    data = entry.read((x, y, z))
    inside = all(
        low >= 0 and low + extent <= n
        for low, extent, n in zip(start, size, entry.shape, strict=True)
    )
    return data if inside else data[np.ix_(*(axis - axis.min() for axis in axes))]


def _mirrored(start: int, size: int, n: int) -> NDArray[np.int64]:
    """Return the indices of a line of n voxels, reflected: `1 0 | 0 1 ... n-1 | n-1 n-2`."""
    positions = np.arange(start, start + size) % (2 * n)
    return np.minimum(positions, 2 * n - 1 - positions)
