"""Real nodules cut from labelled crops, rotated, zoomed and matched to the host's noise."""

from __future__ import annotations

import math
from itertools import permutations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from semilung.data.content.components import connected_components
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
"""Margin of a cut-out nodule in voxels, for its soft edge."""

ATTACHED_HU = -500.0
"""Brighter surroundings belong to a wall or vessel and are not cut out."""


class Cut(NamedTuple):
    """A nodule with its surroundings, `(X, Y, Z)`.

    Attributes:
        hu: Intensities.
        mask: Bool.
        noise: Noise of the source crop.
        crop: Index of the source crop in its batch.
    """

    hu: Tensor
    mask: Tensor
    noise: Noise
    crop: int = 0


def cut_out(
    hu: Tensor, mask: Tensor, spacing_mm: tuple[float, float, float], *, crop: int = 0
) -> list[Cut]:
    """Cut out every nodule (connected component) that lies entirely in a crop.

    Nodules at the crop's border are left out, since their other part is unknown.

    Args:
        hu: `(X, Y, Z)`.
        mask: `(X, Y, Z)`; nodules are all values but 0 and 255.
        spacing_mm: Voxel size.
        crop: Index of the crop.
    """
    nodule = ((mask > 0) & (mask != IGNORE)).cpu().numpy()
    if not nodule.any():
        return []
    labels, _ = connected_components(nodule)
    noise = study(hu, spacing_mm).noise
    cuts = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if any(s.start == 0 or s.stop == n for s, n in zip(box, nodule.shape, strict=True)):
            continue
        wide = tuple(
            slice(max(0, s.start - MARGIN), min(n, s.stop + MARGIN))
            for s, n in zip(box, nodule.shape, strict=True)
        )
        component = torch.from_numpy(labels[wide] == number).to(hu.device)
        cuts.append(Cut(hu[wide], component, noise, crop))
    return cuts


def fitted(
    cut: Cut,
    host: Host,
    spacing_mm: tuple[float, float, float],
    zoom: tuple[float, float],
) -> Insert:
    """Mirror, rotate and zoom a cut-out nodule at random, and match its noise to the host.

    Noise is damped if the host has less, and added if it has more. The label ends at the edge of
    the mask; intensities reach one voxel further, except on walls and vessels.

    Args:
        cut: The nodule.
        host: The host crop.
        spacing_mm: Voxel size of both.
        zoom: Range of the zoom factor, log-uniform.
    """
    hu, mask = _turned(torch.stack([cut.hu, cut.mask.to(cut.hu)]), spacing_mm)
    share = float(torch.rand(()))
    factor = math.exp(math.log(zoom[0]) + share * math.log(zoom[1] / zoom[0]))
    size = [max(1, round(factor * n)) for n in hu.shape]
    hu, fraction = (
        F.interpolate(x[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
        for x in (hu, mask)
    )
    structure = smoothed(hu, (1.0, 1.0, 1.0))
    around = dilated(fraction >= 0.5, (1, 1, 1)) & (structure < ATTACHED_HU)
    alpha = smoothed(torch.maximum(fraction, around.float()), (0.5, 0.5, 0.5))
    alpha = torch.where(alpha < 0.02, 0.0, alpha.clamp(0, 1))
    source_hu, host_hu = cut.noise.std_hu, host.noise.std_hu
    ratio = host_hu / source_hu if source_hu > 0 else 1.0
    missing_hu = math.sqrt(max(0.0, host_hu**2 - source_hu**2))
    added = Noise(missing_hu, host.noise.grain).draw(tuple(size), hu)
    return Insert(fraction, alpha, structure, min(1.0, ratio) * (hu - structure) + added)


def _turned(x: Tensor, spacing_mm: tuple[float, float, float]) -> Tensor:
    """Mirror `(C, X, Y, Z)` along random axes, and permute axes of equal spacing."""
    orders = [
        order
        for order in permutations(range(3))
        if all(math.isclose(spacing_mm[a], spacing_mm[b]) for a, b in enumerate(order))
    ]
    order = orders[int(torch.randint(len(orders), ()))]
    mirrored = [axis + 1 for axis, share in enumerate(torch.rand(3).tolist()) if share < 0.5]
    return x.permute(0, *(axis + 1 for axis in order)).flip(mirrored)
