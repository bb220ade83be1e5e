"""Non-adjacency loss: penalizes contact of classes that must not touch."""

from __future__ import annotations

from torch import Tensor

from semilung.losses.adjacency import soft_adjacency


def non_adjacency_loss(probs: Tensor, forbidden: Tensor) -> Tensor:
    r"""Mean soft adjacency of the forbidden pairs of classes, a mean over samples.

    $$ L = \frac{\sum_{ij} G_{ij} A_{ij}}{\sum_{ij} G_{ij}} $$

    Args:
        probs: `(B, C, *spatial)` in [0, 1], 2D or 3D; A is `soft_adjacency` of it.
        forbidden: G, `(max(C, 2), max(C, 2))` bool, true for classes that must not touch.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: No pair is forbidden, so the loss would always be 0; or the shape of `forbidden`
            does not match the classes.

    Source: Ganaye, Sdika and Benoit-Cattin, Semi-supervised learning for segmentation under
    semantic constraint, MICCAI 2018; Removing segmentation inconsistencies with semi-supervised
    non-adjacency constraint, Medical Image Analysis 2019.

    Example:
        >>> import torch
        >>> probs = torch.full((1, 2, 1, 1), 0.5)
        >>> forbidden = torch.tensor([[False, True], [True, False]])
        >>> round(float(non_adjacency_loss(probs, forbidden)), 4)  # 1/2 * 1/2 / 9
        0.0278
    """
    classes = max(probs.shape[1], 2)
    if tuple(forbidden.shape) != (classes, classes):
        msg = f"forbidden {tuple(forbidden.shape)} does not have the pairs of {classes} classes"
        raise ValueError(msg)
    if not forbidden.any():
        msg = "no pair of classes is forbidden, so the loss would be 0 for every prediction"
        raise ValueError(msg)
    pairs = forbidden.to(probs.device).bool()
    return soft_adjacency(probs).where(pairs, 0.0).sum() / pairs.sum()
