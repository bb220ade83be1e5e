"""`nn.Conv3d` that keeps off torch's slow ways on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_NATIVE_BELOW = 20480
"""Product of batch, channels, X and Y up to which torch 2.13 convolves a batch of one natively."""


class Conv3d(nn.Conv3d):
    """`nn.Conv3d`, the same but for rounding, and several times faster in small volumes on the CPU.

    In two cases torch does not hand a single-precision convolution to oneDNN but unfolds the input,
    which takes 27 times its memory for a 3x3x3 kernel: a batch of one that is small, and a 1x1x1
    kernel on one thread, for which it also leaves `channels_last_3d`. So a small volume goes as
    two overlapping halves, a batch of two; and a 1x1x1 kernel in that layout is a linear map.

    Example:
        >>> conv = Conv3d(2, 3, 3, padding=1)
        >>> x = torch.randn(1, 2, 8, 5, 4)
        >>> bool(torch.allclose(conv(x), nn.Conv3d.forward(conv, x), atol=1e-6))
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of `(B, C, X, Y, Z)`."""
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            if _is_pointwise(self) and x.is_contiguous(memory_format=torch.channels_last_3d):
                weight = self.weight.flatten(1)
                return F.linear(x.movedim(1, -1), weight, self.bias).movedim(-1, 1)
            if _is_cubic(self) and _goes_native(x):
                return self._in_halves(x)
            x = _channel_last(x)
        return super().forward(x)

    def _in_halves(self, x: Tensor) -> Tensor:
        size = x.shape[2]
        half = -(-size // 2)
        # One more slice than its half gives each the neighbours that the cut took away.
        halves = torch.cat((x[:, :, : half + 1], x[:, :, size - half - 1 :]))
        both = super().forward(_channel_last(halves))
        return torch.cat((both[:1, :, :half], both[1:, :, half - size :]), dim=2)


def _channel_last(x: Tensor) -> Tensor:
    """A single channel said to be the last axis in memory, which is as true.

    Else oneDNN pads it to blocks of 16 channels, and answers in blocks.
    """
    return x.squeeze(1).unsqueeze(-1).movedim(-1, 1) if x.ndim == 5 and x.shape[1] == 1 else x


def _is_pointwise(conv: nn.Conv3d) -> bool:
    geometry = (conv.kernel_size, conv.stride, conv.padding)
    return geometry == ((1,) * 3, (1,) * 3, (0,) * 3) and conv.groups == 1


def _is_cubic(conv: nn.Conv3d) -> bool:
    geometry = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.padding_mode)
    return geometry == ((3,) * 3, (1,) * 3, (1,) * 3, (1,) * 3, "zeros") and conv.groups == 1


def _goes_native(x: Tensor) -> bool:
    return (
        x.ndim == 5
        and x.shape[0] == 1
        and x.shape[2] >= 4
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.shape[:4].numel() <= _NATIVE_BELOW
    )


def in_full_where_small(net: Callable[[Tensor], Tensor], x: Tensor, *, halvings: int = 0) -> Tensor:
    """The net's output, on a CPU in full precision where a level of it is two voxels wide or less.

    torch 2.13 computes wrong, even infinite, weight gradients of a 3x3x3 bfloat16 convolution
    there; so small a level is cheap in full precision.

    Args:
        net: Maps one tensor to another.
        x: `(B, C, X, Y, Z)`.
        halvings: How often the net halves its input.
    """
    if x.device.type == "cpu" and min(x.shape[2:]) < 3 * 2**halvings:
        with torch.autocast("cpu", enabled=False):
            return net(x.to(torch.promote_types(x.dtype, torch.float32)))
    return net(x)
