"""Reconstruct U-Net skip tensors in backward instead of storing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semilung.models.recompute import RecordedCall
from semilung.types import UserError

PROBED = 4
"""Approximate number of voxels along each axis that are stored for comparison."""

MAX_RATIO = 100.0
"""A skip is stored if the tensor that it is added to has a maximum this many times larger, since
rounding loses the skip in the sum. In trained networks the ratio is below ten."""

MAX_ERROR = 0.01
"""Largest accepted error of a reconstructed skip, relative to its largest value."""


class RecomputedSkip:
    """A skip connection that is released after the decoder's sum and reconstructed in backward.

    Autograd stores a skip until the end of the step because the backward passes of the encoder
    stage and of the downsampling read it. Inverting the decoder stage yields its input, which is
    the sum of the skip and the upsampled tensor: subtracting the latter gives the skip.

    Args:
        upsample: Maps the `coarse` tensor to the upsampled one.
    """

    def __init__(self, upsample: Callable[[Tensor], Tensor]) -> None:
        self._upsample = upsample
        self._value: Tensor | None = None
        self._saved: Tensor | None = None
        self._size = 0.0

    def release(self, skip: Tensor) -> None:
        """Record a few voxels of a skip that will not be stored."""
        self._probe = probe(skip)

    def run(self, net: nn.Module, skip: Tensor) -> Tensor:
        """Return `net(skip)`; backward recomputes it from the reconstructed skip."""
        out: Tensor = _OnRecomputedSkip.apply(net, self, skip, *net.parameters())  # type: ignore[no-untyped-call]
        return out

    def record_sum(self, skip: Tensor, coarse: Tensor) -> None:
        """Record the two terms of the decoder's sum before the skip is released."""
        self._size = _largest(skip[..., ::2, ::2, ::2])
        self._stored = not _largest(coarse) <= MAX_RATIO * self._size
        self._saved = (skip if self._stored else coarse).detach()

    def take_saved(self) -> Tensor | None:
        """Return the tensor that `restore` needs, for the autograd graph to store."""
        saved, self._saved = self._saved, None
        return saved

    def restore(self, a: Tensor, b: Tensor, saved: Tensor) -> None:
        """Reconstruct the skip from the two halves of the sum, which are overwritten.

        Raises:
            UserError: The result differs from the skip that was released.
        """
        if self._stored:
            skip = saved
        else:
            for half, part in zip((a, b), saved.chunk(2, dim=1), strict=True):
                # A copy, because upsampling a strided tensor is slow.
                half.sub_(self._upsample(part.clone()))
            skip = torch.cat((a, b), dim=1)
        off = float((probe(skip) - self._probe).abs().max())
        if not off <= MAX_ERROR * max(self._size, 1e-4):
            msg = (
                "a skip of a reversible U-Net could not be reconstructed: its error is "
                f"{off:.2g} at a largest value of {self._size:.2g}, and gradients would be "
                "incorrect. Either the decoder amplifies rounding errors (use a smaller "
                "model.depth, or fp32), or a hook changed features between encoder and decoder; "
                "model.backend=checkpoint works in both cases"
            )
            raise UserError(msg)
        self._value = skip

    def value(self) -> Tensor:
        """Return the reconstructed skip.

        Raises:
            RuntimeError: Not reconstructed, because backward did not start at the network's output.
        """
        if self._value is None:
            msg = (
                "backward reached an encoder stage of a reversible U-Net without its decoder: a "
                "loss on inner features needs model.backend=checkpoint or plain"
            )
            raise RuntimeError(msg)
        return self._value

    def pop(self) -> Tensor:
        """Return the reconstructed skip and release it."""
        skip, self._value = self.value(), None
        return skip


class _OnRecomputedSkip(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, net: nn.Module, source: RecomputedSkip, skip: Tensor, *_: Tensor
    ) -> Tensor:
        ctx.call, ctx.source = RecordedCall.record(net, skip.device), source
        with ctx.call.autocast():
            out: Tensor = net(skip)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # The output itself is not needed any more.
        pull_back = ctx.call.replay(ctx.source.value(), ctx.needs_input_grad[2])[1]
        return None, None, *pull_back(grad)


def probe(x: Tensor) -> Tensor:
    """Return a copy of a sparse grid of voxels, for comparison with a reconstructed tensor."""
    steps = (slice(None, None, max(1, size // PROBED)) for size in x.shape[2:])
    return x.detach()[(slice(None), slice(None), *steps)].clone()


def _largest(x: Tensor) -> float:
    return float(x.detach().abs().amax()) if x.numel() else 0.0
