"""Boxes of nodules in a batch, and the ellipsoids inscribed in them.

A box is a row of `boxes`, `(B, N, 2 D)`: its centre in voxels and its half edges in voxels along
each of D axes. Voxel i covers i - 1/2 to i + 1/2. Rows with NaN are padding. Of a nodule whose
centre and diameter d are known, the half edges are d / 2 and the ellipsoid is the ball itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semilung.losses.activation import wide


def require_boxes(boxes: Tensor, like: Tensor) -> None:
    """Check boxes against a prediction.

    Args:
        boxes: `(B, N, 2 D)`.
        like: `(B, C, *spatial)` with D spatial axes.

    Raises:
        ValueError: The shapes do not match, or a half edge is negative.
    """
    axes = like.ndim - 2
    if boxes.ndim != 3 or boxes.shape[0] != like.shape[0] or boxes.shape[2] != 2 * axes:
        msg = f"boxes {tuple(boxes.shape)} do not match a prediction of {tuple(like.shape)}"
        raise ValueError(msg)
    if bool((boxes[..., axes:] < 0).any()):
        raise ValueError("boxes have negative half edges")


def nearest_ellipsoid(boxes: Tensor, like: Tensor, *, scale: float = 1.0) -> Tensor:
    r"""Return which box's ellipsoid each voxel belongs to.

    $$ \rho_n(x) = \sqrt{\sum_j (x_j - c_{nj})^2 / h_{nj}^2}, \qquad
       n(x) = \arg\min_n \rho_n(x) \text{ where } \rho_n(x) \le s $$

    An ellipsoid holds at least the voxel of its centre, however small it is.

    Args:
        boxes: `(B, N, 2 D)`, see the module.
        like: `(B, C, *spatial)`, for size and device.
        scale: s, factor on the half edges.

    Returns:
        `(B, *spatial)` int64: n + 1 within the ellipsoid of box n, 0 outside of all.

    Example:
        >>> boxes = torch.tensor([[[1.0, 1.0, 1.0, 1.0]]])
        >>> nearest_ellipsoid(boxes, torch.zeros(1, 1, 3, 4))[0]
        tensor([[0, 1, 0, 0],
                [1, 1, 1, 0],
                [0, 1, 0, 0]])
    """
    axes = like.ndim - 2
    least = torch.full_like(boxes[..., axes:], math.sqrt(axes) / 2 + 1e-4)
    half = torch.maximum(scale * boxes[..., axes:], least)
    shape = (like.shape[0], *like.shape[2:])
    best = torch.full(shape, torch.inf, dtype=wide(boxes), device=like.device)
    label = torch.zeros(shape, dtype=torch.long, device=like.device)
    for n in range(boxes.shape[1]):
        distance = _distance(boxes[:, n, :axes], half[:, n], shape[1:])
        nearer = (distance <= 1) & (distance < best)
        best = torch.where(nearer, distance, best)
        label = torch.where(nearer, n + 1, label)
    return label


def visible_volumes(boxes: Tensor, like: Tensor) -> Tensor:
    r"""Return the volume of each ellipsoid within the prediction's borders, in voxels.

    $$ V = \frac{\sum_x \min(1, \max(0, 1/2 + (1 - \rho(x)) h))}{1 + D (D - 1) / (24 h^2)} $$

    Voxels at the surface count by the share that is inside, estimated by their distance from it
    along the mean half edge h. The denominator is what a surface one voxel thick adds.

    Args:
        boxes: `(B, N, 2 D)`, see the module.
        like: `(B, C, *spatial)`, for size and device.

    Returns:
        `(B, N)`; NaN for padding.

    Example:
        >>> box = torch.tensor([[[9.5, 9.5, 9.5, 6.0, 6.0, 6.0]]])
        >>> volume = visible_volumes(box, torch.zeros(1, 1, 20, 20, 20))
        >>> round(float(volume / (torch.pi / 6 * 12**3)), 2)
        1.0
    """
    axes = like.ndim - 2
    shape = like.shape[2:]
    volumes = []
    for n in range(boxes.shape[1]):
        centre, half = boxes[:, n, :axes], boxes[:, n, axes:]
        mean = half.log().mean(dim=1).exp().view(-1, *[1] * axes)
        inside = 0.5 + (1 - _distance(centre, half, shape)) * mean
        excess = 1 + axes * (axes - 1) / 24 / mean.flatten() ** 2
        volumes.append(inside.clamp(0, 1).flatten(1).sum(dim=1) / excess)
    return torch.stack(volumes, dim=1) if volumes else boxes.new_zeros(boxes.shape[:2])


def centre_inside(boxes: Tensor, like: Tensor) -> Tensor:
    """Return whether each box's centre is within the prediction's borders, `(B, N)` bool."""
    axes = like.ndim - 2
    size = torch.tensor(like.shape[2:], device=boxes.device)
    centre = boxes[..., :axes]
    return ((centre >= -0.5) & (centre <= size - 0.5)).all(dim=-1)


def _distance(centre: Tensor, half: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return rho, `(B, *spatial)`: 0 at a centre, 1 on the surface of its ellipsoid."""
    axes = len(shape)
    squared: Tensor | float = 0.0
    for j, n in enumerate(shape):
        view = [1] * (axes + 1)
        view[j + 1] = n
        x = torch.arange(n, device=centre.device, dtype=wide(centre)).view(view)
        flat = (-1, *[1] * axes)
        squared = squared + ((x - centre[:, j].view(flat)) / half[:, j].view(flat)) ** 2
    assert isinstance(squared, Tensor)
    return squared.sqrt()
