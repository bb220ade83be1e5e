"""Which case, and where in it: pure functions of (seed, stream, global index).

A stream is endless. Its samples are numbered through the run; whoever knows the number knows the
sample, so results depend neither on the number of workers nor on where a run was resumed.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.grid import Shape

_ORDER, _SAMPLE, _BAG = 0, 1, 2  # what a generator is for: purposes never share their numbers


def draw(seed: int, stream: str, index: int, n_cases: int) -> int:
    """Position of the case that sample `index` of a stream is cut from.

    Epoch `index // n_cases` is a permutation of the cases, so each comes once an epoch.

    Example:
        >>> sorted(draw(0, "labelled", index, 4) for index in range(4, 8))
        [0, 1, 2, 3]
    """
    epoch, position = divmod(index, n_cases)
    return int(_permutation(seed, stream, epoch, n_cases)[position])


def sample_rng(seed: int, stream: str, index: int) -> np.random.Generator:
    """The generator that decides everything random about one sample."""
    return np.random.default_rng([_SAMPLE, seed, zlib.crc32(stream.encode()), index])


def bag_rng(seed: int, stream: str, index: int) -> np.random.Generator:
    """The generator of the bag of a sample's scan."""
    return np.random.default_rng([_BAG, seed, zlib.crc32(stream.encode()), index])


def random_nodule(
    rng: np.random.Generator, foreground: NDArray[np.int16], probability: float
) -> int | None:
    """Which of the known nodule voxels `(M, 3)` a window is to hold; None for no matter which."""
    if rng.random() < probability and len(foreground):
        return int(rng.integers(len(foreground)))
    return None


def random_window(
    rng: np.random.Generator,
    shape: Shape,
    size: Shape,
    *,
    overhang: float,
    voxel: NDArray[np.int16] | None = None,
    zoom: float = 1.0,
) -> Shape:
    """First voxel of a window of `size` on a volume of `shape`; it may be negative.

    With a `voxel`, the window holds it at a uniform offset, also after the window's content has
    been zoomed about its centre (within a voxel, for windows start at whole ones); otherwise it is
    uniform over the volume. On either side it reaches `overhang * size` voxels beyond the volume at
    most, or as far as a smaller volume demands; both kinds of window obey the same rule, so that
    padding does not tell that there is a nodule.

    Args:
        rng: Source of randomness.
        shape: Size of the volume in voxels.
        size: Size of the window in voxels.
        overhang: In [0, 0.5].
        voxel: `(3,)` what the window is to hold.
        zoom: Factor by which the content will be enlarged.
    """
    low, high = window_range(shape, size, overhang)
    if voxel is not None:
        half = (np.array(size) - 1) / 2
        first = voxel - half - half / zoom
        last = voxel - half + half / zoom
        # The rule of the borders goes first: near one, a strongly zoomed voxel may be lost.
        low, high = (np.rint(np.clip(end, low, high)).astype(np.int64) for end in (first, last))
    x, y, z = rng.integers(low, high, endpoint=True)
    return (int(x), int(y), int(z))


def window_range(
    shape: Shape, size: Shape, overhang: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest start that a window may have along each axis."""
    beyond = np.floor(overhang * np.array(size)).astype(np.int64)
    slack = np.array(shape, np.int64) - size
    return np.minimum(-beyond, slack), np.maximum(slack + beyond, 0)


@lru_cache(maxsize=8)  # of four streams, the epoch and the next
def _permutation(seed: int, stream: str, epoch: int, n_cases: int) -> NDArray[np.int64]:
    rng = np.random.default_rng([_ORDER, seed, zlib.crc32(stream.encode()), epoch])
    return rng.permutation(n_cases)
