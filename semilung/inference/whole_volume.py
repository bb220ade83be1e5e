"""Prediction of a whole volume in one pass, or in parts with a halo where memory is short.

A network without statistics of its input needs no overlapping windows: every voxel is predicted
once, with all of its surroundings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from semilung.data.content.lungs import BLOCK
from semilung.data.io.grid import Shape
from semilung.inference.net_ensemble import WindowNets, coarse_shape, evaluating
from semilung.inference.outputs import Activation, stride_of
from semilung.inference.windows import box, coarse_box
from semilung.models import Footprint
from semilung.types import UserError

HALO = 32
"""Largest halo of a part in voxels. A deep network reaches further, but what lies there changes a
probability by less than 0.01 (docs/decisions/0018-whole-volume.md)."""

NEAR_BLOCKS = 2
"""Distance in blocks from the lungs beyond which nothing is predicted: training crops lie around
nodules and in lungs, so a network knows little of heart and liver. With the margin of `lung_blocks`
it is 26 mm at 1 mm, which keeps the core of a mass of 5 cm."""

MOST_PARTS = 12
"""Largest number of parts along an axis."""


class Part(NamedTuple):
    """A box of a volume that is predicted at once.

    `cut` is the image that the networks get, `core` the part of it that is kept, in voxels of the
    volume; `inner` is the core in voxels of the cut.
    """

    cut: tuple[slice, ...]
    core: tuple[slice, ...]
    inner: tuple[slice, ...]


def predict_whole(
    models: Sequence[nn.Module],
    image: NDArray[Any],
    *,
    outputs: Mapping[str, Activation],
    footprint: Footprint,
    memory_gib: float,
    window_hu: tuple[float, float] | None = None,
    lungs: NDArray[np.bool_] | None = None,
    precision: str = "32-true",
    flips: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Predict several outputs of a volume, each voxel once.

    Args:
        models: Networks on one device, whose activated outputs are averaged.
        image: `(X, Y, Z)`, scaled to [0, 1], or in HU with `window_hu`.
        outputs: Head to its activation.
        footprint: Of the networks (`common_footprint`).
        memory_gib: Memory for a pass in addition to image and result; it decides the number of
            parts.
        window_hu: HU scaled to 0 and 1, part by part; None for a scaled image.
        lungs: Blocks with lung (`lung_blocks`): voxels further than `NEAR_BLOCKS` from them get 0.
            None, or no lung at all, clears nothing.
        precision: Precision of the forward passes, one of `PRECISIONS`.
        flips: Average the outputs of all mirrored images, at 8 times the cost.
        progress: Called after each part with the numbers of parts done and in total.

    Returns:
        Head to `(K, X', Y', Z')` float32 on the CPU, K as its activation gives, X' = ceil(X / s) at
        its stride s, which divides the footprint's `multiple`.

    Raises:
        UserError: An output is not finite, a head does not exist, or the smallest part needs more
            memory.
    """
    parts = parts_of(image.shape, footprint, memory_gib)
    nets = WindowNets(
        models, outputs=outputs, precision=precision, window_hu=window_hu, flips=flips
    )
    maps: dict[str, Tensor] = {}
    with evaluating(models), torch.no_grad():
        for number, part in enumerate(parts, start=1):
            for head, values in nets(image[part.cut][None, None]).items():
                stride = stride_of(outputs[head])
                if head not in maps:
                    shape = coarse_shape(image.shape, stride)
                    maps[head] = torch.empty((values.shape[1], *shape))
                inner = values[0][(slice(None), *coarse_box(part.inner, stride))]
                maps[head][(slice(None), *coarse_box(part.core, stride))] = inner
            if progress is not None:
                progress(number, len(parts))
    if lungs is not None and lungs.any():
        distant = ~ndimage.binary_dilation(lungs, np.ones((3, 3, 3), bool), iterations=NEAR_BLOCKS)
        for block in np.argwhere(distant):
            cleared = box(block * BLOCK, np.full(3, BLOCK))
            for head, values in maps.items():
                values[(slice(None), *coarse_box(cleared, stride_of(outputs[head])))] = 0
    return maps


def parts_of(shape: Shape, footprint: Footprint, memory_gib: float) -> list[Part]:
    """Return the parts that cover a volume, as few voxels as the memory allows.

    Args:
        shape: Of the volume.
        footprint: Of the networks.
        memory_gib: Largest memory of a pass.

    Raises:
        UserError: The smallest part needs more memory.

    Example:
        >>> small = Footprint(halo=8, multiple=4, bytes_per_voxel=2**20)
        >>> [part.cut[2] for part in parts_of((16, 16, 64), small, 11.0)]
        [slice(0, 40, None), slice(24, 64, None)]
    """
    most = memory_gib * 2**30 / footprint.bytes_per_voxel
    halo = _rounded_up(min(footprint.halo, HALO), footprint.multiple)
    axes = [
        [_Cuts.of(size, parts, halo, footprint.multiple) for parts in range(1, MOST_PARTS + 1)]
        for size in shape
    ]
    fitting = [cuts for cuts in product(*axes) if math.prod(c.longest for c in cuts) <= most]
    if not fitting:
        smallest = math.prod(min(cuts.longest for cuts in axis) for axis in axes)
        raise UserError(
            f"inference.memory_gib={memory_gib:g} is too little for a volume of "
            f"{' x '.join(map(str, shape))} voxels, the smallest part of which needs "
            f"{smallest * footprint.bytes_per_voxel / 2**30:.2g} GiB; set as much, or predict by "
            f"windows, as with inference.window=[64,64,64]"
        )
    fewest = min(fitting, key=lambda cuts: math.prod(c.voxels for c in cuts))
    return [_part(intervals) for intervals in product(*(cuts.intervals for cuts in fewest))]


class _Interval(NamedTuple):
    """First and last voxel, exclusive, of a part along an axis, without and with its halo."""

    core: tuple[int, int]
    cut: tuple[int, int]


class _Cuts(NamedTuple):
    """The parts of an axis, their voxels in total with halos, and those of the longest."""

    intervals: list[_Interval]
    voxels: int
    longest: int

    @classmethod
    def of(cls, size: int, parts: int, halo: int, multiple: int) -> _Cuts:
        core = _rounded_up(-(-size // parts), multiple)
        intervals = [
            _Interval((a, min(size, a + core)), (max(0, a - halo), min(size, a + core + halo)))
            for a in range(0, size, core)
        ]
        lengths = [interval.cut[1] - interval.cut[0] for interval in intervals]
        return cls(intervals, sum(lengths), max(lengths))


def _part(intervals: Sequence[_Interval]) -> Part:
    return Part(
        cut=tuple(slice(*i.cut) for i in intervals),
        core=tuple(slice(*i.core) for i in intervals),
        inner=tuple(slice(i.core[0] - i.cut[0], i.core[1] - i.cut[0]) for i in intervals),
    )


def _rounded_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
