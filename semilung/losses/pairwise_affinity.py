"""Pairwise affinity: neighbouring voxels of similar intensity take the same label (BoxInst)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from semilung.losses.activation import log_probabilities, voxel_mask, wide


def pairwise_affinity_loss(
    logits: Tensor,
    image: Tensor,
    *,
    region: Tensor | None = None,
    mask: Tensor | None = None,
    theta: float = 0.06,
    threshold: float = 0.3,
    dilation: int = 1,
) -> Tensor:
    r"""Cross-entropy of neighbours of similar intensity having one label, a mean over samples.

    $$ L = \frac{1}{B} \sum_b \frac{-1}{\max(1, |E|)} \sum_{(i, j) \in E}
       \log\big(p_i p_j + (1 - p_i)(1 - p_j)\big), \qquad
       E = \{(i, j) : e^{-\|I_i - I_j\| / \theta} \ge \tau\} $$

    Pairs are voxels that differ by 0 or `dilation` along each axis (8 neighbours in 2D, 26 in 3D;
    each pair counts once), with at least one of both in the region. Pairs that differ more in
    intensity teach nothing: they may have one label or two.

    Args:
        logits: `(B, C, *spatial)`; p is the probability of foreground.
        image: I, `(B, K, *spatial)`, scaled intensities of K channels.
        region: `(B, 1, *spatial)` bool, such as around boxes; None is everywhere.
        mask: `(B, 1, *spatial)` bool; pairs with a voxel that is False do not count.
        theta: θ above 0, in units of the image. With the default τ, intensities are similar up to
            a difference of 1.2 θ: at 0.06 of a window of 1400 HU, 100 HU.
        threshold: τ in (0, 1], smallest similarity.
        dilation: Distance of neighbours in voxels, at least 1.

    Returns:
        A scalar, at least 0. A sample without pairs adds 0.

    Raises:
        ValueError: Shapes that do not match, or an option out of its range.

    Source: Tian et al., BoxInst: High-performance instance segmentation with box annotations,
    CVPR 2021, for voxels.

    Example:
        >>> image = torch.tensor([[[0.5, 0.5, 0.9]]])
        >>> logits = torch.tensor([[[0.0, 9.0, -9.0]]])
        >>> round(float(pairwise_affinity_loss(logits, image)), 4)
        0.6931
    """
    if image.shape[0] != logits.shape[0] or image.shape[2:] != logits.shape[2:]:
        msg = f"image {tuple(image.shape)} does not match logits {tuple(logits.shape)}"
        raise ValueError(msg)
    if theta <= 0:
        raise ValueError(f"theta must be above 0, got {theta}")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must lie in (0, 1], got {threshold}")
    if dilation < 1:
        raise ValueError(f"dilation must be at least 1, got {dilation}")
    valid, near = voxel_mask(mask, logits), voxel_mask(region, logits)
    if valid is not None:
        logits = torch.where(valid[:, None], logits, 0.0)
    foreground, background = log_probabilities(logits)
    image = image.to(wide(image))
    farthest = -theta * math.log(threshold)
    total, count = foreground.new_zeros(len(logits)), foreground.new_zeros(len(logits))
    for one, other in _neighbours(logits.shape[2:], dilation):
        same = torch.logaddexp(
            foreground[one] + foreground[other], background[one] + background[other]
        )
        difference = torch.linalg.vector_norm(image[_all(one)] - image[_all(other)], dim=1)
        pairs = difference <= farthest
        if near is not None:
            pairs = pairs & (near[one] | near[other])
        if valid is not None:
            pairs = pairs & valid[one] & valid[other]
        total = total - torch.where(pairs, same, 0.0).flatten(1).sum(dim=1)
        count = count + pairs.flatten(1).sum(dim=1)
    return (total / count.clamp(min=1)).mean()


Slices = tuple[slice, ...]


def _neighbours(size: tuple[int, ...], dilation: int) -> Iterator[tuple[Slices, Slices]]:
    """Yield the slices of `(B, *size)` that pair each voxel with a neighbour, each pair once."""
    for offset in product((-dilation, 0, dilation), repeat=len(size)):
        steps = list(zip(offset, size, strict=True))
        if offset > (0,) * len(size) and all(abs(o) < n for o, n in steps):
            one = (slice(None), *(slice(max(0, -o), n - max(0, o)) for o, n in steps))
            other = (slice(None), *(slice(max(0, o), n - max(0, -o)) for o, n in steps))
            yield one, other


def _all(slices: Slices) -> Slices:
    """Return the slices of `(B, C, *spatial)` for those of `(B, *spatial)`."""
    return (slices[0], slice(None), *slices[1:])
