"""Synthetic nodules: textured ellipsoids, solid, part-solid or ground-glass."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from semilung.strategies.nodule_insertion.host_crops import Host, Insert, smoothed

MEDIAN_MM, SPREAD = 8.0, 0.5
"""Median and log-scale of the log-normal distribution of diameters, as in LIDC-IDRI."""

KIND_SHARES = (0.65, 0.15, 0.2)
"""Shares of solid, part-solid and ground-glass nodules."""

SOLID_HU, GLASS_HU, LEAST_CONTRAST_HU = (-30.0, 70.0), (-680.0, -480.0), 120.0
EDGE_MM = (0.6, 1.1)
FINEST = 0.02
"""Smaller shares of a voxel count as 0."""


def draw_ellipsoid(
    host: Host, spacing_mm: tuple[float, float, float], diameter_mm: tuple[float, float]
) -> Insert:
    r"""Sample a synthetic nodule with the noise of its host.

    $$ f(x) = \Phi\Big(\frac{r (1 + w(x) + s(x) - |q(x)|)}{\sigma}\Big), \qquad q = R x / a $$

    with half axes a, a rotation R, a smooth deformation w, spicules s (one in five of the solid
    ones), and the blur σ of the edge, which includes the width of a voxel. Solid tissue has -30 to
    70 HU, ground glass at least 120 HU more than the parenchyma; a part-solid nodule has both.

    Args:
        host: The host crop, for noise, parenchyma level and device.
        spacing_mm: Voxel size.
        diameter_mm: Smallest and largest diameter.

    Source: Hu et al., Label-free liver tumor segmentation, CVPR 2023.
    """
    u = torch.rand(10).tolist()
    radius = draw_diameter_mm(diameter_mm) / 2
    solid, part_solid = u[0] < KIND_SHARES[0], u[0] >= 1 - KIND_SHARES[1]
    spicules = 5 + int(4 * u[1]) if solid and u[2] < 0.2 else 0
    axes = torch.exp(0.15 * torch.randn(3))
    axes = axes / axes.prod() ** (1 / 3)
    edge = _between(EDGE_MM, u[3]) * (1 if solid else 1.6)
    edge = math.sqrt(edge**2 + sum(s * s for s in spacing_mm) / 36)
    reach_mm = radius * float(axes.max()) * (1.6 if spicules else 1.3) + 2 * edge
    points = _points(reach_mm, spacing_mm, host.hu)
    turn = torch.linalg.qr(torch.randn(3, 3)).Q.to(host.hu.device)
    q = points @ turn / axes.to(host.hu.device)
    length = q.norm(dim=-1).clamp(min=1e-6)
    surface = 1 + (0.08 + 0.1 * u[4]) * _deformation(length)
    if spicules:
        surface = surface + _spicules(q / length[..., None], spicules)
    outer = _soft(radius * surface - length, edge)
    solid_hu = _between(SOLID_HU, u[5])
    glass_hu = max(_between(GLASS_HU, u[6]), host.level_hu + LEAST_CONTRAST_HU)
    if part_solid:
        core = _soft(radius * (surface - 1 + 0.35 + 0.3 * u[7]) - length, edge)
        hu = glass_hu + core * (solid_hu - glass_hu)
    else:
        hu = torch.full_like(outer, solid_hu if solid else glass_hu)
    hu = hu + (10 + 20 * u[8]) * (1 if solid else 1.5) * _texture(outer, spacing_mm, 1 + u[9])
    return Insert(outer, outer, hu, host.noise.draw(tuple(outer.shape), outer))


def draw_diameter_mm(bounds: tuple[float, float]) -> float:
    """Sample a log-normal diameter of median 8 mm and log-scale 0.5 within the bounds."""
    low, high = (
        float(torch.special.ndtr(torch.tensor(math.log(d / MEDIAN_MM) / SPREAD))) for d in bounds
    )
    share = torch.tensor(_between((low, high), float(torch.rand(()))), dtype=torch.float64)
    z = float(torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6)))
    return min(max(MEDIAN_MM * math.exp(SPREAD * z), bounds[0]), bounds[1])


def _between(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + share * (bounds[1] - bounds[0])


def _points(reach_mm: float, spacing_mm: tuple[float, float, float], like: Tensor) -> Tensor:
    """Return voxel positions in mm around a centre with a random sub-voxel offset."""
    offset = (torch.rand(3) - 0.5).tolist()
    axes = []
    for spacing, n, shift in zip(spacing_mm, like.shape, offset, strict=True):
        half = min(math.ceil(reach_mm / spacing), n)
        axes.append((torch.arange(-half, half + 1, device=like.device) + shift) * spacing)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _soft(distance_mm: Tensor, edge_mm: float) -> Tensor:
    """Return the share of nodule at a distance from its surface, positive inside."""
    share = torch.special.ndtr(distance_mm / edge_mm)
    return torch.where(share < FINEST, 0.0, share)


def _deformation(like: Tensor) -> Tensor:
    """Return a smooth random field of about unit amplitude, interpolated from 5^3 samples."""
    coarse = torch.randn(1, 1, 5, 5, 5).clamp(-2, 2).to(like.device)
    fine = F.interpolate(coarse, size=like.shape, mode="trilinear", align_corners=True)
    return fine[0, 0]


def _spicules(directions: Tensor, count: int) -> Tensor:
    """Return sharp bumps of 0.25 to 0.5 of the radius along random directions."""
    bumps = F.normalize(torch.randn(count, 3), dim=1).to(directions.device)
    heights = (0.25 + 0.25 * torch.rand(count)).tolist()
    field = torch.zeros(directions.shape[:-1], device=directions.device)
    for bump, height in zip(bumps, heights, strict=True):
        field = field + height * torch.exp(40 * (directions @ bump - 1))
    return field


def _texture(like: Tensor, spacing_mm: tuple[float, float, float], grain_mm: float) -> Tensor:
    """Return smoothed noise of unit standard deviation."""
    field = smoothed(
        torch.randn(like.shape, device=like.device), tuple(grain_mm / s for s in spacing_mm)
    )
    return field / field.std().clamp(min=1e-6)
