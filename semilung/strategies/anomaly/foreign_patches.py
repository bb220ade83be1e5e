"""Foreign patches: smooth random shapes, blended by interpolation (FPI) or gradients (PII)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 0.08
"""Width of a shape's soft edge, as a share of its radius."""


def random_shape(like: Tensor, size: tuple[float, float]) -> Tensor:
    """Return M: for each sample an irregular ellipsoid or box at a random position.

    Args:
        like: `(B, C, X, Y, Z)`.
        size: Smallest and largest half axis as a share of the crop's edge.

    Returns:
        `(B, 1, X, Y, Z)` in [0, 1], soft at the edge.
    """
    return torch.stack([_shape(like.shape[2:], size, like.device) for _ in like])[:, None]


def foreign(images: Tensor) -> Tensor:
    """Return the source crop of each patch: the next one of the batch.

    A single crop is its own source, mirrored and shifted by a random part of its size.
    """
    if len(images) > 1:
        return images.roll(1, dims=0)
    shifts = [int(torch.randint(n // 4, max(n // 4 + 1, 3 * n // 4), ())) for n in images.shape[2:]]
    return images.flip(2 + int(torch.randint(3, ()))).roll(shifts, dims=(2, 3, 4))


def interpolated(images: Tensor, other: Tensor, target: Tensor) -> Tensor:
    r"""Foreign patch interpolation (FPI), $ x' = x + t (y - x) $.

    Args:
        images: x, `(B, C, X, Y, Z)`.
        other: y, of the same shape.
        target: t, the share α of y within the shape, `(B, 1, X, Y, Z)`.

    Source: Tan et al., Detecting outliers with foreign patch interpolation, 2020.
    """
    return images + target * (other - images)


def poisson(images: Tensor, other: Tensor, target: Tensor, *, iterations: int = 60) -> Tensor:
    r"""Poisson image interpolation (PII): a blend of gradients, seamless at the patch's border.

    $$ \Delta x' = \mathrm{div}\, v \text{ where } t > 0, \quad x' = x \text{ elsewhere}, \qquad
       v = (1 - \alpha) \nabla x \text{ or } \alpha \nabla y $$

    whichever is larger at each edge. Solved for x' - x by conjugate gradients.

    Args:
        images: x, `(B, 1, X, Y, Z)`.
        other: y, of the same shape.
        target: t, α within the shape and 0 around it, `(B, 1, X, Y, Z)`.
        iterations: Iterations of the solver.

    Source: Tan et al., Detecting outliers with Poisson image interpolation, MICCAI 2021.
    """
    out = images.clone()
    for i in range(len(images)):
        inside = (target[i, 0] > 0).nonzero()
        if not len(inside):
            continue
        # one voxel more on every side, clipped to the crop
        low = (inside.amin(0) - 1).clamp(min=0).tolist()
        high = (inside.amax(0) + 2).tolist()
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        alpha = target[i, 0][box].max()
        solved = _solved(
            images[i, 0][box], other[i, 0][box], target[i, 0][box] > 0, float(alpha), iterations
        )
        out[i, 0][box] = solved
    return out


def _solved(x: Tensor, y: Tensor, inside: Tensor, alpha: float, iterations: int) -> Tensor:
    """Return the crop with the blended patch, `(X, Y, Z)`, unchanged where not `inside`."""
    right = torch.zeros_like(x)
    for axis in range(3):
        dx, dy = (1 - alpha) * x.diff(dim=axis), alpha * y.diff(dim=axis)
        # target gradient minus the gradient of x, between neighbouring voxels
        more = torch.where(dx.abs() > dy.abs(), dx, dy) - x.diff(dim=axis)
        pad = [0, 0, 0, 0, 0, 0]
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = 1
        right = right - F.pad(more, pad).diff(dim=axis)
    inner = inside.to(x.dtype)
    return x + _conjugate_gradients(right * inner, inner, iterations)


def _conjugate_gradients(right: Tensor, inner: Tensor, iterations: int) -> Tensor:
    """Solve -Δu = `right` where `inner` is 1, with u = 0 elsewhere and outside the box."""
    u, residual = torch.zeros_like(right), right
    direction, power = residual, residual.square().sum()
    for _ in range(iterations):
        image = inner * _minus_laplace(direction)
        step = power / (direction * image).sum().clamp(min=1e-20)
        u, residual = u + step * direction, residual - step * image
        power, before = residual.square().sum(), power
        direction = residual + power / before.clamp(min=1e-20) * direction
    return u


def _minus_laplace(u: Tensor) -> Tensor:
    p = F.pad(u, (1, 1, 1, 1, 1, 1))
    around = p[2:, 1:-1, 1:-1] + p[:-2, 1:-1, 1:-1] + p[1:-1, 2:, 1:-1]
    around = around + p[1:-1, :-2, 1:-1] + p[1:-1, 1:-1, 2:] + p[1:-1, 1:-1, :-2]
    return 6 * u - around


def _shape(spatial: torch.Size, size: tuple[float, float], device: torch.device) -> Tensor:
    box, wobble = (float(share) for share in torch.rand(2))
    turn = torch.linalg.qr(torch.randn(3, 3)).Q.to(device)
    half = math.log(size[0]) + torch.rand(3) * math.log(size[1] / size[0])
    half_axes = (half.exp() * torch.tensor(spatial)).clamp(min=1.5).to(device)
    centre = [float(c) for c in torch.rand(3) * (torch.tensor(spatial) - 1)]
    axes = [torch.arange(n, device=device) - c for n, c in zip(spatial, centre, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) @ turn / half_axes
    length = points.abs().amax(-1) if box < 0.3 else points.norm(dim=-1)
    coarse = torch.randn(1, 1, 5, 5, 5).clamp(-2, 2).to(device)
    bumps = F.interpolate(coarse, size=spatial, mode="trilinear", align_corners=True)[0, 0]
    share = torch.sigmoid((1 + 0.2 * wobble * bumps - length) / EDGE)
    return torch.where(share < 0.05, 0.0, share)
