"""The head of characterization, and how its maps become one description of a nodule.

The head gives evidence for each target in every voxel, three times: for voxels of a nodule, for
those around it, and for voxels of a nodule once more, which counts by the logarithm of its size.
For means over voxels do not show a size, and crops are zoomed. A nodule's outputs are the sum of
the three means. Maps can therefore be predicted like those of every other dense head, whole or by
windows, and averaged over networks, before it is known where the nodules are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

DESCRIPTIONS = "descriptions"
STRIDE = 2

SHELL_MM = 5.0
"""Thickness of the surroundings."""

GROUPS = 3
"""Maps of evidence for each output."""

UNIT_MM = 10.0
"""Diameter at which the third group counts for nothing."""

OUTLINE = 1.5
"""Factor on a nodule's radius within which voxels of the mask are its own."""


def pool_nodule(
    maps: Tensor,
    centre: Sequence[float],
    diameter_mm: float,
    spacing_mm: Sequence[float],
    *,
    mask: Tensor | None = None,
    unzoomed_mm: float | None = None,
) -> Tensor:
    r"""Return the outputs of one nodule of diameter d.

    $$ o = \frac{\sum_x w(x)\, (e(x) + g(x) \ln(d / 10\,\mathrm{mm}))}{\sum_x w(x)}
       + \frac{\sum_x s(x)\, f(x)}{\sum_x s(x)} $$

    Without a mask, w is the share of a voxel within the ball of the nodule; with one, the mask
    within `OUTLINE` times the radius. s is the same for a ball that is `SHELL_MM` larger, less w.
    Voxels beyond the maps count for nothing.

    Args:
        maps: `(3 C, X', Y', Z')` at stride 2: evidence e in nodules, f around them, and g.
        centre: Of the nodule, in voxels of the image.
        diameter_mm: Above 0.
        spacing_mm: Of the image's voxels.
        mask: `(X', Y', Z')` in [0, 1], the share of nodule in each voxel of the maps.
        unzoomed_mm: d, where the image was zoomed; `diameter_mm` by default.

    Returns:
        `(C,)`; NaN for a nodule whose box of surroundings lies beyond the maps.
    """
    radius_mm, edges_mm = diameter_mm / 2, [mm * STRIDE for mm in spacing_mm]
    place = [(c + 0.5) / STRIDE - 0.5 for c in centre]  # in voxels of the maps
    reach_mm = max(radius_mm + SHELL_MM, OUTLINE * radius_mm)
    box = tuple(
        slice(max(0, math.floor(p - reach_mm / mm)), min(n, math.ceil(p + reach_mm / mm) + 1))
        for p, mm, n in zip(place, edges_mm, maps.shape[1:], strict=True)
    )
    channels = len(maps) // GROUPS
    if any(b.start >= b.stop for b in box):
        return maps.new_full((channels,), torch.nan)
    cut = maps[(slice(None), *box)]
    axes = [
        (torch.arange(b.start, b.stop, device=maps.device) - p) * mm
        for b, p, mm in zip(box, place, edges_mm, strict=True)
    ]
    squares = torch.meshgrid(*(axis.square() for axis in axes), indexing="ij")
    distance_mm = torch.stack(squares).sum(dim=0).sqrt()
    edge_mm = math.prod(edges_mm) ** (1 / 3)

    def ball(mm: float) -> Tensor:
        """Share of each voxel within a distance, as if voxels were balls of their size."""
        return ((mm - distance_mm) / edge_mm + 0.5).clamp(0, 1)

    inside = ball(radius_mm)
    if mask is not None and bool(
        (marked := mask[box] * (distance_mm <= OUTLINE * radius_mm)).any()
    ):
        inside = marked.to(inside.dtype)
    elif not bool(inside.any()):  # smaller than a voxel
        inside = (distance_mm == distance_mm.min()).to(inside.dtype)
    shell = (ball(radius_mm + SHELL_MM) - inside).clamp(min=0)
    nodule, around, by_size = torch.split(cut, channels)
    size = math.log((unzoomed_mm or diameter_mm) / UNIT_MM)
    return _mean(nodule + by_size * size, inside) + _mean(around, shell)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    weight = weight.to(values.dtype)
    return (values * weight).sum(dim=(1, 2, 3)) / weight.sum().clamp(min=1e-6)
