"""Non-adjacency loss: penalizes contact of classes that must not touch."""

from __future__ import annotations

from torch import Tensor

from semilung.losses.adjacency import soft_adjacency


def non_adjacency_loss(probs: Tensor, forbidden: Tensor) -> Tensor:
    r"""Mean soft adjacency of the forbidden pairs of classes, a mean over samples.

    $$ L = \frac{\sum_{ij} G_{ij} A_{ij}}{\sum_{ij} G_{ij}} $$

    Args:
        probs: `(B, C, *spatial)` in [0, 1], 2D or 3D; A is `soft_adjacency` of it.
        forbidden: G, `(max(C, 2), max(C, 2))` bool, true where two classes must not touch.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: Nothing is forbidden, so the loss would be 0 whatever the prediction; or the
            pairs do not fit the classes.

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
        msg = f"forbidden {tuple(forbidden.shape)} does not hold the pairs of {classes} classes"
        raise ValueError(msg)
    if not forbidden.any():
        msg = "no pair of classes is forbidden, so the loss would be 0 whatever the prediction"
        raise ValueError(msg)
    chosen = forbidden.to(probs.device).bool()
    return soft_adjacency(probs).where(chosen, 0.0).sum() / chosen.sum()
