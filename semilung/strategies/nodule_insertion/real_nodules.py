"""Real nodules: cut from labelled crops, rotated, zoomed and matched to the host's noise."""

from __future__ import annotations

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from semilung.strategies.nodule_insertion.host_crops import (
    Host,
    Insert,
    Noise,
    dilated,
    smoothed,
    study,
)
from semilung.types import IGNORE

MARGIN = 3
"""Voxels around a nodule that come along, for its soft edge."""

ATTACHED_HU = -500.0
"""Brighter surroundings belong to a wall or vessel that stays behind."""


class Cut(NamedTuple):
    """A nodule with its surroundings, `(X, Y, Z)`.

    Attributes:
        hu: Intensities.
        mask: Bool.
        noise: Of the crop that it stems from.
        crop: The number of that crop in its batch.
    """

    hu: Tensor
    mask: Tensor
    noise: Noise
    crop: int = 0


def cut_out(
    hu: Tensor, mask: Tensor, spacing_mm: tuple[float, float, float], *, crop: int = 0
) -> list[Cut]:
    """Every connected nodule that a crop holds whole.

    Nodules that the crop's border cuts are left out, for their other side is unknown.

    Args:
        hu: `(X, Y, Z)`.
        mask: `(X, Y, Z)`; nodules are what is neither 0 nor 255.
        spacing_mm: Voxel size.
        crop: The crop's number.
    """
    nodule = ((mask > 0) & (mask != IGNORE)).cpu().numpy()
    if not nodule.any():
        return []
    labels, _ = ndimage.label(nodule, structure=np.ones((3, 3, 3)))
    noise = study(hu, spacing_mm).noise
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if any(s.start == 0 or s.stop == n for s, n in zip(box, nodule.shape, strict=True)):
            continue
        wide = tuple(
            slice(max(0, s.start - MARGIN), min(n, s.stop + MARGIN))
            for s, n in zip(box, nodule.shape, strict=True)
        )
        own = torch.from_numpy(labels[wide] == number).to(hu.device)
        found.append(Cut(hu[wide], own, noise, crop))
    return found


def fitted(
    cut: Cut,
    host: Host,
    spacing_mm: tuple[float, float, float],
    zoom: tuple[float, float],
) -> Insert:
    """A cut-out nodule, mirrored, turned and zoomed at random, with the host's noise.

    What is noise in it is damped where the host has less, and topped up where it has more. The
    label's edge is the mask's; the intensities' goes a voxel beyond, where no wall or vessel is.

    Args:
        cut: The nodule.
        host: Where it is to go.
        spacing_mm: Voxel size, the same in both.
        zoom: Range of the zoom factor, drawn uniformly in its logarithm.
    """
    hu, own = _turned(torch.stack([cut.hu, cut.mask.to(cut.hu)]), spacing_mm)
    share = float(torch.rand(()))
    factor = math.exp(math.log(zoom[0]) + share * math.log(zoom[1] / zoom[0]))
    size = [max(1, round(factor * n)) for n in hu.shape]
    hu, fraction = (
        F.interpolate(x[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
        for x in (hu, own)
    )
    structure = smoothed(hu, (1.0, 1.0, 1.0))
    around = dilated(fraction >= 0.5, (1, 1, 1)) & (structure < ATTACHED_HU)
    alpha = smoothed(torch.maximum(fraction, around.float()), (0.5, 0.5, 0.5))
    alpha = torch.where(alpha < 0.02, 0.0, alpha.clamp(0, 1))
    theirs, ours = cut.noise.std_hu, host.noise.std_hu
    ratio = ours / theirs if theirs > 0 else 1.0
    more = math.sqrt(max(0.0, ours**2 - theirs**2))
    added = Noise(more, host.noise.grain).draw(tuple(size), hu)
    return Insert(fraction, alpha, structure, min(1.0, ratio) * (hu - structure) + added)


def _turned(x: Tensor, spacing_mm: tuple[float, float, float]) -> Tensor:
    """`(C, X, Y, Z)` mirrored along random axes, and turned in planes of equal spacing."""
    orders = [
        order
        for order in permutations(range(3))
        if all(math.isclose(spacing_mm[a], spacing_mm[b]) for a, b in enumerate(order))
    ]
    order = orders[int(torch.randint(len(orders), ()))]
    mirrored = [axis + 1 for axis, share in enumerate(torch.rand(3).tolist()) if share < 0.5]
    return x.permute(0, *(axis + 1 for axis in order)).flip(mirrored)
