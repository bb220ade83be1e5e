"""Centre heatmaps, the targets of anchor-free detection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semilung.data.manifest.nodules import UNMEASURED_MM

SIGMA_PER_DIAMETER = 1 / 6
"""As CenterNet's: three standard deviations from the centre is the border, where 0.011 is left."""


def gaussian_heatmap(
    centres: Tensor,
    diameters: Tensor,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    stride: int = 1,
) -> Tensor:
    r"""Heatmap with a Gaussian on every nodule, whose width follows the diameter.

    $$ y(x) = \max_n \exp\Big(-\frac{|x - c_n|^2}{2 \sigma_n^2}\Big), \qquad \sigma_n = d_n / 6 $$

    Distances are in mm, between centres of output voxels: c is that of the voxel which holds the
    nodule's centre, so that y is exactly 1 there (where `heatmap_focal_loss` counts it), however
    small the nodule. A centre outside the crop has no such voxel, but its flank is there.

    Args:
        centres: `(N, 3)`, in voxels of the input (whole numbers at voxel centres); rows of NaN are
            padding and left out.
        diameters: `(N,)` in mm; NaN stands for 10 mm.
        shape: `(X, Y, Z)` of the input, multiples of the stride.
        spacing_mm: Voxel size of the input.
        stride: Input voxels of an output voxel along each axis.

    Returns:
        `(X / stride, Y / stride, Z / stride)` float32 in [0, 1], on the device of the centres.

    Raises:
        ValueError: A shape that is no multiple of the stride, or a diameter that is not positive.

    Source: Zhou et al., Objects as points, 2019.

    Example:
        >>> heatmap = gaussian_heatmap(
        ...     torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([6.0]), (6, 1, 1), (1.0, 1.0, 1.0)
        ... )
        >>> [round(float(value), 3) for value in heatmap.flatten()]
        [0.135, 0.607, 1.0, 0.607, 0.135, 0.011]
    """
    if stride < 1 or any(n % stride for n in shape):
        raise ValueError(f"shape {tuple(shape)} is no multiple of the stride {stride}")
    nodules = ~centres.isnan().any(dim=1)
    centres, diameters = centres[nodules], diameters[nodules].nan_to_num(nan=UNMEASURED_MM)
    if bool((diameters <= 0).any()):
        raise ValueError(f"diameters must be positive, got {float(diameters.min()):g}")
    sigma_mm = diameters * SIGMA_PER_DIAMETER
    voxels = ((centres + 0.5) / stride).floor()  # an output voxel holds [-0.5, stride - 0.5)
    heatmap = torch.zeros([n // stride for n in shape], device=centres.device)
    axes = [
        _profiles(voxels[:, axis], sigma_mm, n, spacing_mm[axis] * stride)
        for axis, n in enumerate(heatmap.shape)
    ]
    for x, y, z in zip(*axes, strict=True):
        torch.maximum(heatmap, x[:, None, None] * y[:, None] * z, out=heatmap)
    return heatmap


def _profiles(voxels: Tensor, sigma_mm: Tensor, n: int, spacing_mm: float) -> Tensor:
    """Return Gaussians along an axis of n voxels, `(N, n)` float32."""
    distance_mm = (torch.arange(n, device=voxels.device) - voxels[:, None]) * spacing_mm
    return (-((distance_mm / sigma_mm[:, None]) ** 2) / 2).exp().float()
