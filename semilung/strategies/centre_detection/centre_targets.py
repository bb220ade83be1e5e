"""Targets of centre detection from the nodules of crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semilung.data.loading.gaussian_heatmap import gaussian_heatmap
from semilung.data.manifest.nodules import UNMEASURED_MM
from semilung.strategies.core.centre_maps import STRIDE


class CentreTargets(NamedTuple):
    """Targets at the stride of the maps, `(B, C, X', Y', Z')`.

    Attributes:
        heatmap: 1 at the voxel of each centre, a Gaussian around it.
        weight: 0 within the balls of ignored findings, where no centre is; else 1.
        centre: True at the voxels of centres.
        offset: From the voxel's centre to the nodule's, in voxels of the maps.
        measured: True at the centres of nodules whose diameter is known.
        log_diameter: Of it in mm.
    """

    heatmap: Tensor
    weight: Tensor
    centre: Tensor
    offset: Tensor
    measured: Tensor
    log_diameter: Tensor


def centre_targets(nodules: Tensor, spacing_mm: Tensor, size: Sequence[int]) -> CentreTargets:
    """Return the targets of a batch.

    Args:
        nodules: `(B, N, 5)`, as the loader gives them: centre in voxels, diameter in mm (NaN where
            unknown), and 1, or 0 for an ignored finding; rows of NaN are padding.
        spacing_mm: `(B, 3)`.
        size: `(X, Y, Z)` of the crops.
    """
    samples = [
        _sample(rows, spacing.tolist(), size)
        for rows, spacing in zip(nodules, spacing_mm, strict=True)
    ]
    return CentreTargets(*(torch.stack(values) for values in zip(*samples, strict=True)))


def _sample(nodules: Tensor, spacing_mm: Sequence[float], size: Sequence[int]) -> CentreTargets:
    nodules = nodules[~nodules[:, 0].isnan()]
    counted, ignored = (nodules[nodules[:, 4] == flag] for flag in (1, 0))
    padded = [-(-n // STRIDE) * STRIDE for n in size]
    heatmap = gaussian_heatmap(counted[:, :3], counted[:, 3], padded, spacing_mm, stride=STRIDE)
    shape = heatmap.shape
    places = (counted[:, :3] + 0.5) / STRIDE - 0.5  # in voxels of the maps
    offset, log_diameter = heatmap.new_zeros(3, *shape), heatmap.new_zeros(1, *shape)
    centre = torch.zeros(1, *shape, dtype=torch.bool, device=heatmap.device)
    measured = centre.clone()
    for place, diameter_mm in zip(places, counted[:, 3], strict=True):
        voxel = (place + 0.5).floor().long()
        if bool(((voxel >= 0) & (voxel < torch.tensor(shape, device=voxel.device))).all()):
            x, y, z = voxel.tolist()
            centre[0, x, y, z] = True
            offset[:, x, y, z] = place - voxel
            measured[0, x, y, z] = ~diameter_mm.isnan()
            log_diameter[0, x, y, z] = diameter_mm.nan_to_num(nan=1.0).log()
    weight = torch.ones_like(log_diameter)
    for row in ignored:
        weight[0][_in_ball(row, spacing_mm, shape)] = 0
    weight[centre] = 1
    return CentreTargets(heatmap[None], weight, centre, offset, measured, log_diameter)


def _in_ball(finding: Tensor, spacing_mm: Sequence[float], shape: Sequence[int]) -> Tensor:
    """Return which voxels of the maps lie in the ball of a finding, `(X', Y', Z')` bool."""
    squared = torch.zeros(*shape, device=finding.device)
    for axis, n in enumerate(shape):
        positions = (torch.arange(n, device=finding.device) + 0.5) * STRIDE - 0.5
        distance_mm = (positions - finding[axis]) * spacing_mm[axis]
        squared += (distance_mm**2).view([-1 if a == axis else 1 for a in range(3)])
    radius_mm = finding[3].nan_to_num(nan=UNMEASURED_MM) / 2
    return squared <= radius_mm**2
