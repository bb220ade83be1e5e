"""Skips that nobody keeps for backward, because backward itself comes past them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semilung.models.rerun import Run
from semilung.types import UserError

PROBED = 4
"""Of so many voxels along each axis a tensor's values are kept to compare with, about."""

DROWNED = 100.0
"""A skip is kept where what it is added to is so many times larger, at the largest: rounding would
not leave enough of it in the sum. In trained nets the two differ by less than ten times."""

LARGEST_OFF = 0.01
"""A skip given back may be off by this share of its largest value."""


class Loan:
    """Lends a skip connection out of the graph until backward can give it back.

    A skip is kept from the encoder's stage to the end of the step only because backward reads it
    there, in the stage and on the way down. The decoder's stage, undone, ends at the sum of the
    skip and what was upsampled: so the skip is let go after that sum, and given back from it.

    Args:
        upsample: What came up to the sum, of the `coarse` tensor that it was made of.
    """

    def __init__(self, upsample: Callable[[Tensor], Tensor]) -> None:
        self._upsample = upsample
        self._returned: Tensor | None = None
        self._kept: Tensor | None = None
        self._size = 0.0

    def lend(self, skip: Tensor) -> None:
        """Remember a little of a skip, which the caller does not keep."""
        self._probe = probe(skip)

    def run(self, net: nn.Module, skip: Tensor) -> Tensor:
        """`net(skip)`, which runs again in backward, on what is given back."""
        made: Tensor = _OnLoan.apply(net, self, skip, *net.parameters())  # type: ignore[no-untyped-call]
        return made

    def added(self, skip: Tensor, coarse: Tensor) -> None:
        """Tell of what the sum is made, a last look at the skip."""
        self._size = _largest(skip[..., ::2, ::2, ::2])
        self._drowned = not _largest(coarse) <= DROWNED * self._size
        self._kept = (skip if self._drowned else coarse).detach()

    def hand_over(self) -> Tensor | None:
        """What `give_back` will need, for the graph to keep."""
        kept, self._kept = self._kept, None
        return kept

    def give_back(self, a: Tensor, b: Tensor, kept: Tensor) -> None:
        """The skip again, of the sum's two halves, which are overwritten, and what was kept.

        Raises:
            UserError: It is not the one that was lent.
        """
        if self._drowned:
            skip = kept
        else:
            for half, part in zip((a, b), kept.chunk(2, dim=1), strict=True):
                # A copy of the part, for upsampling is slow on a strided one.
                half.sub_(self._upsample(part.clone()))
            skip = torch.cat((a, b), dim=1)
        off = float((probe(skip) - self._probe).abs().max())
        if not off <= LARGEST_OFF * max(self._size, 1e-4):
            msg = (
                "a skip of a reversible U-Net could not be given back: rebuilt, it is off by "
                f"{off:.2g}, its largest value being {self._size:.2g}, and gradients would be "
                "wrong. Either the decoder amplifies rounding too much (use a smaller model.depth, "
                "or fp32), or a hook changed features between the encoder's stage and the "
                "decoder's; backend checkpoint bears both"
            )
            raise UserError(msg)
        self._returned = skip

    def returned(self) -> Tensor:
        """The skip that was given back.

        Raises:
            RuntimeError: None was, for backward did not begin at the net's own output.
        """
        if self._returned is None:
            msg = (
                "backward reached an encoder's stage of a reversible U-Net without its decoder: "
                "a loss on inner features needs model backend checkpoint or plain"
            )
            raise RuntimeError(msg)
        return self._returned

    def close(self) -> Tensor:
        """`returned`, for its last reader."""
        skip, self._returned = self.returned(), None
        return skip


class _OnLoan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, net: nn.Module, loan: Loan, skip: Tensor, *_: Tensor) -> Tensor:
        ctx.run, ctx.loan = Run.begin(net, skip.device), loan
        with ctx.run.autocast():
            made: Tensor = net(skip)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Only the second of the two: the value need not live any more.
        pull_back = ctx.run.again(ctx.loan.returned(), ctx.needs_input_grad[2])[1]
        return None, None, *pull_back(grad)


def probe(x: Tensor) -> Tensor:
    """A copy of some voxels, by which one knows a tensor again."""
    steps = (slice(None, None, max(1, size // PROBED)) for size in x.shape[2:])
    return x.detach()[(slice(None), slice(None), *steps)].clone()


def _largest(x: Tensor) -> float:
    return float(x.detach().abs().amax()) if x.numel() else 0.0
