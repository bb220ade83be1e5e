"""Size of a nodule between bounds, as an extended log-barrier."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semilung.losses.activation import log_probabilities, voxel_mask
from semilung.losses.boxes import (
    centre_inside,
    nearest_ellipsoid,
    require_boxes,
    visible_volumes,
)


def size_barrier_loss(
    logits: Tensor,
    boxes: Tensor,
    *,
    tolerance: float = 0.2,
    margin: float = 1.5,
    t: float = 5.0,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Log-barriers on the soft size of each nodule, a mean over samples.

    $$ L = \frac{1}{B} \sum_b \operatorname{mean}_n \left[
       \psi_t\Big((1 - \tau)^D - \frac{S_n}{V_n}\Big)
       + \psi_t\Big(\frac{S_n}{V_n} - (1 + \tau)^D\Big) \right], \qquad
       S_n = \sum_{x \in E_n} p(x) $$

    V is the volume of the ellipsoid inscribed in the box, in voxels (for a diameter d that of the
    ball, $ \pi d^3 / 6 $), as far as the crop shows it; E is that ellipsoid enlarged by `margin`,
    without the voxels nearer to another one. Sizes within an error τ of the
    diameter are allowed. The barrier of a constraint z ≤ 0 has a gradient where it is violated too:

    $$ \psi_t(z) = -\frac{1}{t} \log(-z) $$

    for $z \leq -1 / t^2$, and its tangent beyond,
    $\psi_t(z) = t z - \frac{1}{t} \log \frac{1}{t^2} + \frac{1}{t}$.

    With t the barrier approaches the constraint: 0 where it holds, t z where it does not.

    Nodules whose centre is outside of the crop do not count, nor do those of which a voxel of E is
    ignored: how much of their volume is visible is uncertain.

    Args:
        logits: `(B, C, *spatial)`; p is the probability of foreground.
        boxes: `(B, N, 2 D)`, centre and half edges in voxels; rows with NaN are padding.
        tolerance: τ in (0, 1), relative error of the diameter.
        margin: Factor on the half edges within which probabilities count, at least 1.
        t: Above 0; large is a sharp barrier.
        mask: `(B, 1, *spatial)` bool; voxels that are False are ignored.

    Returns:
        A scalar; where all constraints hold, slightly positive, of the order of 1 / t. A sample
        without boxes adds 0.

    Raises:
        ValueError: Shapes that do not match, or an option out of its range.

    Source: Kervadec et al., Constrained deep networks: Lagrangian optimization via log-barrier
    extensions, 2019, and Bounding boxes for weakly supervised segmentation, MIDL 2020.

    Example:
        >>> box = torch.tensor([[[4.0, 4.0, 4.0, 3.0, 3.0, 3.0]]])
        >>> empty = torch.full((1, 1, 9, 9, 9), -99.0)
        >>> round(float(size_barrier_loss(empty, box, t=100)))  # 100 * 0.8^3
        51
    """
    require_boxes(boxes, logits)
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie in (0, 1), got {tolerance}")
    if margin < 1:
        raise ValueError(f"margin must be at least 1, got {margin}")
    if t <= 0:
        raise ValueError(f"t must be above 0, got {t}")
    axes = logits.ndim - 2
    label = nearest_ellipsoid(boxes, logits, scale=margin).flatten(1)
    counted = centre_inside(boxes, logits) & ~boxes.isnan().any(dim=-1)
    valid = voxel_mask(mask, logits)
    if valid is not None:
        logits = torch.where(valid[:, None], logits, 0.0)
        ignored = _sums((~valid.flatten(1)).float(), label, boxes.shape[1])
        counted = counted & (ignored == 0)
    log_p, _ = log_probabilities(logits)
    sizes = _sums(log_p.exp().flatten(1), label, boxes.shape[1])
    volumes = torch.where(counted, visible_volumes(boxes, logits), 1.0).to(sizes.dtype)
    ratio = sizes / volumes
    low, high = (1 - tolerance) ** axes, (1 + tolerance) ** axes
    values = log_barrier(low - ratio, t) + log_barrier(ratio - high, t)
    values = torch.where(counted, values, 0.0)
    return (values.sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()


def log_barrier(z: Tensor, t: float) -> Tensor:
    """Return the extended log-barrier of z <= 0 (see `size_barrier_loss`), element by element.

    Example:
        >>> log_barrier(torch.tensor([-1.0, 1.0]), 2.0).tolist()[0]
        -0.0
    """
    inner = -1 / t**2
    logarithm = -torch.where(z <= inner, -z, 1.0).log() / t
    line = t * z - math.log(1 / t**2) / t + 1 / t
    return torch.where(z <= inner, logarithm, line)


def _sums(values: Tensor, label: Tensor, count: int) -> Tensor:
    """Return the sums of values `(B, voxels)` over the voxels of labels 1 to `count`."""
    sums = values.new_zeros((len(values), count + 1))
    return sums.scatter_add(1, label, values)[:, 1:]
