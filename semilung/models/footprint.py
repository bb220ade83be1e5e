"""What predicting a volume in parts needs to know of a network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import lcm

from torch import nn


@dataclass(frozen=True)
class Footprint:
    """Reach and memory of a network whose outputs depend on their surroundings alone.

    A network that normalises by statistics of its input has none: its output at a voxel depends on
    the whole window, however large.

    Attributes:
        halo: Distance in voxels beyond which the image has no effect on an output.
        multiple: Parts of a volume begin at multiples of it, so that all strides fall on the voxels
            that they fall on in the whole volume.
        bytes_per_voxel: Bound on the peak memory of a forward pass without gradients, in fp32.
    """

    halo: int
    multiple: int
    bytes_per_voxel: float


def common_footprint(models: Iterable[nn.Module]) -> Footprint | None:
    """Return the footprint of networks that run one after another; None if one has none.

    Example:
        >>> from semilung.models import build_model
        >>> nets = [build_model("reversible_unet", {"widths": w}) for w in ([4, 8], [4, 8, 8])]
        >>> common_footprint(nets).multiple
        4
        >>> common_footprint([build_model("segresnet")]) is None
        True
    """
    footprints = [getattr(model, "footprint", None) for model in models]
    defined = [footprint for footprint in footprints if footprint is not None]
    if not defined or len(defined) < len(footprints):
        return None
    return Footprint(
        halo=max(footprint.halo for footprint in defined),
        multiple=lcm(*(footprint.multiple for footprint in defined)),
        bytes_per_voxel=max(footprint.bytes_per_voxel for footprint in defined),
    )
