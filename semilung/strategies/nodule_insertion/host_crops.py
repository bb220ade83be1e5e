"""Host crops of inserted nodules: lung region, noise, placement and blending."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PARENCHYMA_HU = (-950.0, -600.0)
WALL_HU = -400.0
"""Half-way between lung and soft tissue: the lung surface."""

AIR_HU = -955.0
AIR_MARGIN_MM = 3.0
STRUCTURE_MM = 1.0
"""Standard deviation of the blur that separates noise from structure."""

LARGEST_CORRELATION = 0.75
"""Largest noise correlation of neighbouring voxels; above it, structure would count as noise."""


class Noise(NamedTuple):
    """Noise model: standard deviation in HU, and Gaussian grain along each axis in voxels."""

    std_hu: float
    grain: tuple[float, float, float]

    def draw(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Sample a noise field of a shape, in HU."""
        reach = [_reach(grain) for grain in self.grain]
        padded = [n + 2 * r for n, r in zip(shape, reach, strict=True)]
        x = torch.randn(padded, device=like.device)
        for axis, grain in enumerate(self.grain):
            weights = _gaussian(grain)
            power = math.sqrt(sum(w * w for w in weights))
            x = _convolved(x, [w / power for w in weights], axis)
        return self.std_hu * x


@dataclass(frozen=True)
class Host:
    """A healthy crop prepared for insertion, all fields `(X, Y, Z)`.

    Attributes:
        hu: Intensities.
        structure: Intensities without noise.
        parenchyma: Aerated lung by intensity, away from free air.
        lung: Parenchyma and its border half-way to the wall; only here intensities change.
        air: Free air and its margin, inside or outside the body.
        noise: Noise of the parenchyma.
        level_hu: Median of the parenchyma.
    """

    hu: Tensor
    structure: Tensor
    parenchyma: Tensor
    lung: Tensor
    air: Tensor
    noise: Noise
    level_hu: float


class Insert(NamedTuple):
    """A nodule on a separate centred grid of odd sizes, all fields `(K, L, M)`.

    Attributes:
        fraction: Share of the voxel that is nodule; labelled from 1/2 on.
        alpha: Blending weight of the nodule's intensities, at least 0, soft at the edge.
        hu: Intensities without noise.
        grain_hu: Noise that replaces the noise of the host.
    """

    fraction: Tensor
    alpha: Tensor
    hu: Tensor
    grain_hu: Tensor


def smoothed(x: Tensor, sigma: tuple[float, ...]) -> Tensor:
    """Return the Gaussian blur of `(X, Y, Z)`, border repeated; `sigma` in voxels per axis."""
    reach = [_reach(s) for s in sigma]
    pads = [r for r in reversed(reach) for _ in range(2)]
    x = F.pad(x[None, None], pads, mode="replicate")[0, 0]
    for axis, s in enumerate(sigma):
        x = _convolved(x, _gaussian(s), axis)
    return x


def dilated(x: Tensor, reach: tuple[int, ...]) -> Tensor:
    """Dilate a bool `(X, Y, Z)` by a box of `reach` voxels to each side."""
    y = x[None, None].float()
    for axis, r in enumerate(reach):
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = 2 * r + 1, r
        y = F.max_pool3d(y, size, stride=1, padding=pad)
    return y[0, 0] > 0


def study(
    hu: Tensor, spacing_mm: tuple[float, float, float], *, occupied: Tensor | None = None
) -> Host:
    """Analyse a crop `(X, Y, Z)` in HU; nothing is inserted at or next to `occupied` voxels."""
    structure = smoothed(hu, tuple(max(STRUCTURE_MM / s, 0.6) for s in spacing_mm))
    reach = tuple(math.ceil(AIR_MARGIN_MM / s) for s in spacing_mm)
    air = dilated(structure < AIR_HU, reach)
    low, high = PARENCHYMA_HU
    parenchyma = (structure > low) & (structure < high) & ~air
    lung = (structure < WALL_HU) & ~air
    if occupied is not None and bool(occupied.any()):
        free = ~dilated(occupied, (2, 2, 2))
        parenchyma, lung = parenchyma & free, lung & free
    level = float(hu[parenchyma].median()) if bool(parenchyma.any()) else sum(PARENCHYMA_HU) / 2
    return Host(hu, structure, parenchyma, lung, air, measure_noise(hu, parenchyma), level)


def measure_noise(hu: Tensor, where: Tensor) -> Noise:
    r"""Estimate the noise in a region from differences of voxels one and two apart.

    Noise of Gaussian grain s has the correlation $ \rho = \exp(-1 / 4 s^2) $ at a distance of one
    voxel and $ \rho^4 $ at two, so the variances of the differences, $ 2 \sigma^2 (1 - \rho) $ and
    $ 2 \sigma^2 (1 - \rho^4) $, have the ratio $ 1 + \rho + \rho^2 + \rho^3 $. Medians make the
    estimate robust against vessels.
    """
    variances, grains = [], []
    for axis in range(3):
        one, two = (_variance_of_differences(hu, where, axis, lag) for lag in (1, 2))
        correlation = _correlation(two / one) if one > 0 else 0.0
        variances.append(one / 2 / (1 - correlation))
        grains.append(math.sqrt(-0.25 / math.log(correlation)) if correlation > 0.02 else 0.0)
    return Noise(math.sqrt(sorted(variances)[1]), (grains[0], grains[1], grains[2]))


def find_place(host: Host, insert: Insert, *, touching: bool) -> tuple[int, int, int] | None:
    """Return a random voxel for the centre of an insert, or None if there is none.

    All positions are tested by correlation: the insert lies entirely in parenchyma, or (`touching`)
    partly on a wall or vessel. The crop's border may cut a nodule, but not exclude its centre.

    Args:
        host: The crop.
        insert: The nodule.
        touching: Prefer a position at a wall or vessel; without one, stay clear of both.
    """
    centre = host.parenchyma
    if not bool(centre.any()):
        return None
    label = (insert.fraction >= 0.5).float()
    if touching:
        share = _overlap(~host.lung, label) / label.sum()
        partly = (share > 0.03) & (share < 0.35) & (_overlap(host.air, label) < 0.5)
        place = _random_voxel(centre & partly)
        if place is not None:
            return place
    clear = _overlap(~host.parenchyma, (insert.alpha > 0.05).float()) < 0.5
    return _random_voxel(centre & clear)


def blended(host: Host, insert: Insert, place: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Blend an insert into its host.

    A nodule never darkens: brighter structures of the host show through. Where host and nodule mix,
    their independent noise is mixed such that its standard deviation is preserved.

    Returns:
        HU and label (bool), `(X, Y, Z)`; outside the lung, HU are unchanged.
    """
    half = [n // 2 for n in insert.alpha.shape]
    low = [p - h for p, h in zip(place, half, strict=True)]
    box, part = [], []
    for start, size, n in zip(low, insert.alpha.shape, host.hu.shape, strict=True):
        stop = min(n, start + size)
        box.append(slice(max(0, start), stop))
        part.append(slice(max(0, -start), stop - start))
    b, p = tuple(box), tuple(part)
    hu, lung = host.hu[b], host.lung[b]
    alpha, inner = insert.alpha[p], insert.hu[p]
    mixed = hu + alpha * (inner - hu) + (alpha * (2 - alpha)).sqrt() * insert.grain_hu[p]
    painted = (alpha > 0) & lung & (host.structure[b] < inner)
    image = host.hu.clone()
    image[b] = torch.where(painted, mixed, hu)
    label = torch.zeros_like(host.lung)
    label[b] = (insert.fraction[p] >= 0.5) & lung
    return image, label


def _overlap(region: Tensor, label: Tensor) -> Tensor:
    """Count the voxels of `region` under `label`, for every position of its centre."""
    half = [n // 2 for n in label.shape]
    size = [4 * math.ceil((n + h) / 4) for n, h in zip(region.shape, half, strict=True)]
    spectrum = torch.fft.rfftn(region.float(), s=size) * torch.fft.rfftn(label, s=size).conj()
    overlap: Tensor = torch.fft.irfftn(spectrum, s=size).roll(half, dims=(0, 1, 2))
    X, Y, Z = region.shape
    return overlap[:X, :Y, :Z]


def _random_voxel(mask: Tensor) -> tuple[int, int, int] | None:
    voxels = mask.nonzero()
    if not len(voxels):
        return None
    x, y, z = voxels[int(torch.randint(len(voxels), ()))].tolist()
    return (x, y, z)


def _variance_of_differences(hu: Tensor, where: Tensor, axis: int, lag: int) -> float:
    size = hu.shape[axis] - lag
    if size < 1:
        return 0.0
    inside = where.narrow(axis, 0, size) & where.narrow(axis, lag, size)
    difference = (hu.narrow(axis, lag, size) - hu.narrow(axis, 0, size))[inside].abs()
    return (1.4826 * float(difference.median())) ** 2 if len(difference) else 0.0


def _correlation(ratio: float) -> float:
    """Solve 1 + ρ + ρ² + ρ³ = ratio for ρ in [0, `LARGEST_CORRELATION`]."""
    low, high = 0.0, LARGEST_CORRELATION
    for _ in range(20):
        middle = (low + high) / 2
        above = 1 + middle + middle**2 + middle**3 > ratio
        low, high = (low, middle) if above else (middle, high)
    return low


def _reach(sigma: float) -> int:
    return math.ceil(3 * sigma) if sigma > 0.2 else 0


def _gaussian(sigma: float) -> list[float]:
    reach = _reach(sigma)
    if not reach:
        return [1.0]
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-reach, reach + 1)]
    return [w / sum(weights) for w in weights]


def _convolved(x: Tensor, weights: list[float], axis: int) -> Tensor:
    size = x.shape[axis] - len(weights) + 1
    out = weights[0] * x.narrow(axis, 0, size)
    for shift, weight in enumerate(weights[1:], start=1):
        out = out.add(x.narrow(axis, shift, size), alpha=weight)
    return out
