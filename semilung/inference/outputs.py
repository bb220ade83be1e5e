"""Outputs of a network as they are predicted: each head has an activation.

Windows are blended after the activation, so it decides what is averaged: probabilities for a
segmentation, the values themselves for a regression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from semilung.types import UserError

Activation: TypeAlias = Callable[[Tensor], Tensor]
"""Maps a head's output `(B, C, X, Y, Z)` to the values to blend, `(B, K, X, Y, Z)` float32."""


def foreground_probability(logits: Tensor) -> Tensor:
    """Return the probability of nodule of a segmentation head.

    `sigmoid(logits)` for one channel; `1 - softmax(logits)[:, 0]` for several, where channel 0 is
    background.

    Args:
        logits: `(B, C, X, Y, Z)`.

    Returns:
        `(B, 1, X, Y, Z)` float32 in [0, 1].
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        return logits.sigmoid()
    return 1 - logits.softmax(dim=1)[:, :1]


def class_probabilities(logits: Tensor) -> Tensor:
    """Return the softmax over classes, `(B, C, X, Y, Z)` float32."""
    return logits.float().softmax(dim=1)


ACTIVATIONS: dict[str, Activation] = {
    "logits": foreground_probability,
    "anomaly": foreground_probability,
    "anatomy": class_probabilities,
}
"""Head to its activation; a new head is a row here."""


def activation_of(head: str) -> Activation:
    """Return the activation of a head.

    Raises:
        UserError: The head has no row in `ACTIVATIONS`.
    """
    if head not in ACTIVATIONS:
        raise UserError(
            f"the head {head!r} has no activation, there are {', '.join(ACTIVATIONS)}: choose one "
            f"of these, or add a row to semilung.inference.outputs.ACTIVATIONS"
        )
    return ACTIVATIONS[head]
