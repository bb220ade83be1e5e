"""`nn.Conv3d` that avoids slow code paths of torch on CPUs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_NATIVE_BELOW = 20480
"""Largest product of batch, channels, X and Y for which torch 2.13 does not call oneDNN."""


class Conv3d(nn.Conv3d):
    """`nn.Conv3d`, equal up to rounding and several times faster on CPUs for small volumes.

    In two cases torch does not call oneDNN for a single-precision convolution but unfolds the
    input, which takes 27 times its memory for a 3x3x3 kernel: a small batch of one, and a 1x1x1
    kernel on one thread, where it also drops the layout `channels_last_3d`. Therefore a small
    volume is convolved as a batch of two overlapping halves, and a 1x1x1 kernel as a linear map.

    Example:
        >>> conv = Conv3d(2, 3, 3, padding=1)
        >>> x = torch.randn(1, 2, 8, 5, 4)
        >>> bool(torch.allclose(conv(x), nn.Conv3d.forward(conv, x), atol=1e-6))
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `(B, C, X, Y, Z)`."""
        if x.device.type == "cpu" and not is_exporting():
            if _is_pointwise(self) and x.is_contiguous(memory_format=torch.channels_last_3d):
                weight = self.weight.flatten(1)
                return F.linear(x.movedim(1, -1), weight, self.bias).movedim(-1, 1)
            if _is_cubic(self) and _skips_onednn(x):
                return self._in_halves(x)
            x = _channel_last(x)
        return super().forward(x)

    def _in_halves(self, x: Tensor) -> Tensor:
        size = x.shape[2]
        half = -(-size // 2)
        # One slice more than half, so that both halves see the neighbours across the cut.
        halves = torch.cat((x[:, :, : half + 1], x[:, :, size - half - 1 :]))
        both = super().forward(_channel_last(halves))
        return torch.cat((both[:1, :, :half], both[1:, :, half - size :]), dim=2)


def is_exporting() -> bool:
    """Return whether a graph for inputs of any size is recorded, so that no size may decide."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def _channel_last(x: Tensor) -> Tensor:
    """Return a single channel with the strides of `channels_last_3d`, without a copy.

    Otherwise oneDNN pads it to blocks of 16 channels, and returns blocks.
    """
    return x.squeeze(1).unsqueeze(-1).movedim(-1, 1) if x.ndim == 5 and x.shape[1] == 1 else x


def _is_pointwise(conv: nn.Conv3d) -> bool:
    geometry = (conv.kernel_size, conv.stride, conv.padding)
    return geometry == ((1,) * 3, (1,) * 3, (0,) * 3) and conv.groups == 1


def _is_cubic(conv: nn.Conv3d) -> bool:
    geometry = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    return geometry == ((3,) * 3, (1,) * 3, (1,) * 3, (1,) * 3) and conv.groups == 1


def _skips_onednn(x: Tensor) -> bool:
    return (
        x.ndim == 5
        and x.shape[0] == 1
        and x.shape[2] >= 4
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.shape[:4].numel() <= _NATIVE_BELOW
    )


def full_precision_if_small(
    net: Callable[[Tensor], Tensor], x: Tensor, *, halvings: int = 0
) -> Tensor:
    """Return `net(x)`, on CPUs in full precision if a level is at most two voxels wide.

    For such levels torch 2.13 computes incorrect, even infinite, weight gradients of 3x3x3 bfloat16
    convolutions; full precision costs little at this size.

    Args:
        net: Maps one tensor to another.
        x: `(B, C, X, Y, Z)`.
        halvings: Number of downsamplings by 2 in the network.
    """
    if x.device.type == "cpu" and not is_exporting() and min(x.shape[2:]) < 3 * 2**halvings:
        with torch.autocast("cpu", enabled=False):
            return net(x.to(torch.promote_types(x.dtype, torch.float32)))
    return net(x)
