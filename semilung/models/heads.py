"""Dense outputs of a network at the image's resolution or a coarser one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from semilung.models.conv import Conv3d

NEGATIVE_SLOPE = 0.01

HIDDEN = 16
"""Channels between the patches and the output of a strided head."""


class Head(NamedTuple):
    """Size of an output: `(B, channels, X', Y', Z')` with X' = ceil(X / stride).

    Attributes:
        channels: Number of channels.
        stride: Voxels of the image for each voxel of the output, along each axis.
    """

    channels: int
    stride: int = 1

    @classmethod
    def of(cls, size: int | Sequence[int]) -> Head:
        """Return a head from its channels, or its channels and stride.

        Example:
            >>> Head.of(1), Head.of([5, 2])
            (Head(channels=1, stride=1), Head(channels=5, stride=2))
        """
        return cls(size) if isinstance(size, int) else cls(*size)

    @property
    def plain(self) -> int | list[int]:
        """Plain values for a checkpoint, as `of` reads them."""
        return self.channels if self.stride == 1 else list(self)

    def extent(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the voxels of the output of an image."""
        return tuple(-(-n // self.stride) for n in size)


class StridedHead(nn.Module):
    """A head at a coarser resolution: patches, one 3x3x3 convolution, one 1x1x1.

    Args:
        features: Channels of the features.
        channels: Channels of the output.
        stride: Size of a patch in voxels of the features; they are padded at their far ends, by
            repeating the border, to a multiple of it.
    """

    def __init__(self, features: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.patches = Conv3d(features, HIDDEN, stride, stride=stride)
        self.context = Conv3d(HIDDEN, HIDDEN, 3, padding=1, padding_mode="replicate")
        self.last = Conv3d(HIDDEN, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return `(B, channels, X', Y', Z')` of features `(B, F, X, Y, Z)`."""
        *_, X, Y, Z = features.shape
        far_ends = [side for size in (Z, Y, X) for side in (0, -size % self.stride)]
        h = F.leaky_relu(features, NEGATIVE_SLOPE)
        if any(far_ends):
            h = F.pad(h, far_ends, mode="replicate")
        for layer in (self.patches, self.context):
            h = F.leaky_relu(layer(h), NEGATIVE_SLOPE)
        output: Tensor = self.last(h)
        return output
