"""Outputs of a network as they are predicted: each head has an activation.

Windows are blended after the activation, so it decides what is averaged: probabilities for a
segmentation, the values themselves for a regression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from torch import Tensor

Activation: TypeAlias = Callable[[Tensor], Tensor]
"""Maps a head's output `(B, C, X, Y, Z)` to the values to blend, `(B, K, X, Y, Z)` float32. That of
a head at a coarser resolution states its stride (`at_stride`)."""

F = TypeVar("F", bound=Activation)


def at_stride(stride: int, *, vector: Sequence[int] = ()) -> Callable[[F], F]:
    """Declare that an activation is of a head at a stride of the image (`Head.stride`).

    Args:
        stride: Of the head.
        vector: Channels of the values that are the x, y and z of a vector in voxels, whose sign
            changes in a mirrored image.
    """

    def declare(activation: F) -> F:
        activation.stride, activation.vector = stride, tuple(vector)  # type: ignore[attr-defined]
        return activation

    return declare


def mirrored(values: Tensor, activation: Activation, axes: Sequence[int]) -> Tensor:
    """Return the values of a mirrored image in the place and direction of the image itself.

    Args:
        values: `(B, K, X, Y, Z)`, after the activation.
        activation: Of the head; states the channels of a vector (`at_stride`).
        axes: Axes of the image that were mirrored, 0 to 2.
    """
    turned = values.flip([2 + axis for axis in axes])
    for axis, channel in enumerate(getattr(activation, "vector", ())):
        if axis in axes:
            turned[:, channel].neg_()
    return turned


def stride_of(activation: Activation) -> int:
    """Return the stride of the head that an activation is of.

    Example:
        >>> stride_of(foreground_probability), stride_of(at_stride(2)(lambda x: x))
        (1, 2)
    """
    return int(getattr(activation, "stride", 1))


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
