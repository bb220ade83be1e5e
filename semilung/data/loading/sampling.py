"""Sampling of cases and windows: pure functions of (seed, stream, global index).

A stream is endless, and its samples are numbered through the run. A sample depends only on its
number, so results depend neither on the number of workers nor on where a run was resumed.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.grid import Shape

_ORDER, _SAMPLE, _BAG = 0, 1, 2  # purposes of a generator, which never share random numbers


def draw(seed: int, stream: str, index: int, n_cases: int) -> int:
    """Return the position of the case of sample `index` of a stream.

    Epoch `index // n_cases` is a permutation of the cases, so each is drawn once an epoch.

    Example:
        >>> sorted(draw(0, "labelled", index, 4) for index in range(4, 8))
        [0, 1, 2, 3]
    """
    epoch, position = divmod(index, n_cases)
    return int(_permutation(seed, stream, epoch, n_cases)[position])


def sample_rng(seed: int, stream: str, index: int) -> np.random.Generator:
    """Return the generator of everything random in one sample."""
    return np.random.default_rng([_SAMPLE, seed, zlib.crc32(stream.encode()), index])


def bag_rng(seed: int, stream: str, index: int) -> np.random.Generator:
    """Return the generator of the bag of a sample's scan."""
    return np.random.default_rng([_BAG, seed, zlib.crc32(stream.encode()), index])


def random_target(
    rng: np.random.Generator, voxels: NDArray[np.int16], probability: float
) -> int | None:
    """Draw the voxel, of `(M, 3)`, that a window must hold; None for an arbitrary window."""
    if rng.random() < probability and len(voxels):
        return int(rng.integers(len(voxels)))
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
    """Draw the first voxel of a window of `size` on a volume of `shape`; it may be negative.

    With a `voxel`, the window holds it at a uniform offset, also after its content has been zoomed
    about the centre (within a voxel, because windows start at whole voxels); otherwise the window
    is uniform over the volume. It extends at most `overhang * size` voxels beyond the volume on
    either side, or as far as a smaller volume requires. Both kinds of window follow the same rule,
    so that padding does not predict a nodule.

    Args:
        rng: Source of randomness.
        shape: Size of the volume in voxels.
        size: Size of the window in voxels.
        overhang: In [0, 0.5].
        voxel: `(3,)` voxel that the window must hold.
        zoom: Factor by which the content will be enlarged.
    """
    low, high = window_range(shape, size, overhang)
    if voxel is not None:
        half = (np.array(size) - 1) / 2
        first = voxel - half - half / zoom
        last = voxel - half + half / zoom
        # The overhang takes precedence: near a border a strongly zoomed voxel may be lost.
        low, high = (np.rint(np.clip(end, low, high)).astype(np.int64) for end in (first, last))
    x, y, z = rng.integers(low, high, endpoint=True)
    return (int(x), int(y), int(z))


def window_range(
    shape: Shape, size: Shape, overhang: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest and highest start of a window along each axis."""
    beyond = np.floor(overhang * np.array(size)).astype(np.int64)
    slack = np.array(shape, np.int64) - size
    return np.minimum(-beyond, slack), np.maximum(slack + beyond, 0)


@lru_cache(maxsize=8)  # four streams, current and next epoch
def _permutation(seed: int, stream: str, epoch: int, n_cases: int) -> NDArray[np.int64]:
    rng = np.random.default_rng([_ORDER, seed, zlib.crc32(stream.encode()), epoch])
    return rng.permutation(n_cases)
