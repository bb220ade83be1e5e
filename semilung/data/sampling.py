"""Which case, and where in it: pure functions of (seed, stream, global index).

A stream is endless. Its samples are numbered through the run; whoever knows the number knows the
sample, so results depend neither on the number of workers nor on where a run was resumed.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from semilung.data.volume import Shape

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


def random_window(
    rng: np.random.Generator,
    shape: Shape,
    size: Shape,
    *,
    foreground: NDArray[np.int16],
    probability: float,
    overhang: float,
) -> Shape:
    """First voxel of a window of `size` on a volume of `shape`; it may be negative.

    With `probability`, where there is foreground, the window holds a random one of its voxels at a
    uniform offset; otherwise it is uniform over the volume. On either side it reaches at most
    `overhang * size` voxels beyond the volume, or as far as a volume smaller than it demands;
    both kinds of window obey the same rule, so that padding does not tell that there is a nodule.

    Args:
        rng: Source of randomness.
        shape: Size of the volume in voxels.
        size: Size of the window in voxels.
        foreground: `(M, 3)` voxel indices; M may be 0.
        probability: Share of windows that are placed by foreground, in [0, 1].
        overhang: In [0, 0.5].
    """
    low, high = window_range(shape, size, overhang)
    if rng.random() < probability and len(foreground):
        voxel = foreground[rng.integers(len(foreground))].astype(np.int64)
        low = np.maximum(low, voxel - np.array(size) + 1)
        high = np.minimum(high, voxel)
    x, y, z = rng.integers(low, high, endpoint=True)
    return (int(x), int(y), int(z))


def window_range(
    shape: Shape, size: Shape, overhang: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest start that a window may have along each axis."""
    beyond = np.floor(overhang * np.array(size)).astype(np.int64)
    slack = np.array(shape, np.int64) - size
    return np.minimum(-beyond, slack), np.maximum(slack + beyond, 0)


@lru_cache(maxsize=16)
def _permutation(seed: int, stream: str, epoch: int, n_cases: int) -> NDArray[np.int64]:
    rng = np.random.default_rng([_ORDER, seed, zlib.crc32(stream.encode()), epoch])
    return rng.permutation(n_cases)
