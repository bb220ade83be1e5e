"""The head of detection, and how its channels are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from semilung.models import Head

CENTRES = "centres"
STRIDE = 2
"""Voxels of the image for each voxel of the maps: at 1 mm, a nodule of 4 mm is two voxels wide."""

SIZE = Head(channels=5, stride=STRIDE)

DIAMETERS_MM = (1.0, 200.0)
"""Range of predicted diameters; others are clipped to it."""

_PRIOR = math.log(0.01 / 0.99)
_COMMON_MM = 8.0
"""Diameter that an output of 0 stands for, about the median of LUNA16's nodules."""


class CentreMaps(NamedTuple):
    """What the head says of each voxel of its maps.

    Attributes:
        logits: `(B, 1, ...)`, that it holds the centre of a nodule; 1 % for an output of 0.
        offset: `(B, 3, ...)`, from the voxel's centre to the nodule's, in voxels of the maps.
        log_diameter: `(B, 1, ...)`, of the diameter in mm.
    """

    logits: Tensor
    offset: Tensor
    log_diameter: Tensor


def centre_maps(output: Tensor) -> CentreMaps:
    """Return the maps of the head's output `(B, 5, ...)`."""
    return CentreMaps(output[:, :1] + _PRIOR, output[:, 1:4], output[:, 4:5] + math.log(_COMMON_MM))


def centre_probability(outputs: Mapping[str, Tensor]) -> Tensor:
    """Return the heatmap `(B, 1, ...)` in [0, 1] among a network's outputs."""
    return centre_maps(outputs[CENTRES]).logits.sigmoid()
