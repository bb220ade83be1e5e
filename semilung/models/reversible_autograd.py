"""Autograd function of the fused backend: one node for a whole chain of additive couplings.

A branch `h` (F or G of a coupling) maps the two channel halves to `(a, b) -> (b, a + h(b))`; two
such half-steps are one coupling. The inverse is `(p, q) -> (q - h(p), p)`, so backward reconstructs
the chain from its output alone: each branch is recomputed once, for both the inversion and the
gradient. Recomputing activations from outputs was introduced by RevNets (Gomez et al., 2017);
inverting whole 3D stages by Brügger et al., "A Partially Reversible U-Net" (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semilung.models.recompute import RecordedCall
from semilung.models.skip_recompute import RecomputedSkip, probe
from semilung.types import UserError

MAX_INVERSION_ERROR = 0.1
"""Largest accepted error of a reconstructed input, relative to its maximum or to 1, if larger.

The error of the gradients is then a few percent; the error of trained networks here is 1e-7."""


def run_fused(
    branches: Sequence[nn.Module],
    x: Tensor,
    *,
    output: RecomputedSkip | None = None,
    total: RecomputedSkip | None = None,
) -> Tensor:
    """Run the chain `F1, G1, F2, G2, ...` on `x` and store only its output for backward.

    Args:
        branches: Modules that preserve the shape of their input, `(B, C/2, *spatial)`. Backward
            works in place: a hook that stores a branch's recomputed input sees it overwritten.
        x: `(B, C, *spatial)`, split in two halves by channel.
        output: Releases the output, which is then not stored either.
        total: Receives the reconstructed `x` in backward; requires a gradient of `x`.

    Returns:
        The chain's output, of the shape of `x`.

    Raises:
        RuntimeError: In backward, if a weight, a buffer or the train mode of a branch changed
            after the forward pass, a stored output was modified in place, or a second derivative
            is requested.
        UserError: In backward, if the chain amplifies rounding errors so much that its input
            cannot be reconstructed.
    """
    # Weights are inputs, so that autograd.grad and DDP's hooks see their gradients. A weight that
    # two branches share is passed twice, and autograd adds the two gradients.
    weights = [weight for branch in branches for weight in branch.parameters()]
    inbox: list[Tensor] = []
    skips = (output, total)
    y: Tensor = _FusedChain.apply(branches, inbox, skips, x, *weights)  # type: ignore[no-untyped-call]
    if y.grad_fn is not None:
        y.grad_fn.register_prehook(partial(_take, inbox))
    return y


def _take(inbox: list[Tensor], grads: tuple[Tensor | None]) -> tuple[Tensor] | None:
    """Copy the halves of the incoming gradient and pass a placeholder to the node.

    Autograd keeps a node's incoming gradient alive until the node is done: here, a gradient of the
    whole stage in addition to the two halves that backward works on. The placeholder is one number.
    """
    (grad,) = grads
    if grad is None:
        return None
    inbox[:] = _copied_halves(grad.detach())
    # It requires a gradient if a second derivative may be taken, which autograd then refuses.
    twice = grad.requires_grad or torch.is_grad_enabled()
    return (grad.new_zeros(()).expand_as(grad).requires_grad_(twice),)


def _copied_halves(x: Tensor) -> list[Tensor]:
    return [half.clone() for half in x.chunk(2, dim=1)]


class _FusedChain(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        branches: Sequence[nn.Module],
        inbox: list[Tensor],
        skips: tuple[RecomputedSkip | None, RecomputedSkip | None],
        x: Tensor,
        *_: Tensor,
    ) -> Tensor:
        a, b = x.chunk(2, dim=1)
        ctx.inbox, ctx.calls, ctx.probe = inbox, [], probe(b)
        ctx.output, ctx.total = output, total = skips
        for branch in branches:
            call = RecordedCall.record(branch, x.device)
            with call.autocast():
                value = branch(b)
            a, b = b, a + value
            del value  # else it would stay alive during the next branch
            ctx.calls.append(call)
        y = torch.cat((a, b), dim=1)
        if output is not None:
            output.release(y)
        # Saved this way, tensors are freed with the graph, and saved-tensor hooks see them.
        ctx.save_for_backward(y if output is None else None, total.take_saved() if total else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, saved = ctx.saved_tensors
        if ctx.output is not None:
            y = ctx.output.pop()
        calls: list[RecordedCall] = ctx.calls
        x_needs_grad = ctx.needs_input_grad[3]
        total: RecomputedSkip | None = ctx.total
        # Nothing is needed below the first branch that a gradient reaches.
        first = 0 if x_needs_grad else next(k for k, c in enumerate(calls) if any(c.trainable))
        # Others may hold the output, for example as a skip connection: it is inverted on a copy.
        a, b = _copied_halves(y)
        del y
        ctx.maybe_clear_saved_tensors()
        grad_a, grad_b = ctx.inbox or _copied_halves(grad)
        ctx.inbox.clear()
        weight_grads: list[Tensor | None] = []
        for k in reversed(range(first, len(calls))):
            if k == 0:
                _require_inverted(probe(a), ctx.probe)
            value, pull_back = calls[k].replay(a, x_needs_grad or k > first)
            if k > first or total:  # the last inversion is only needed for the skip
                b.sub_(value)
            del value  # before the gradient's temporaries, where memory peaks
            input_grad, *grads = pull_back(grad_b)
            weight_grads = grads + weight_grads
            if input_grad is not None:
                # Not in place: the gradient of a weight that is only added is `grad_b` itself.
                grad_a = grad_a + input_grad
            del input_grad, pull_back  # else they would stay alive during the next branch
            a, b, grad_a, grad_b = b, a, grad_b, grad_a
        if total:
            total.restore(a, b, saved)
        del a, b, saved
        skipped = [None for call in calls[:first] for _ in call.weights]
        x_grad = torch.cat((grad_a, grad_b), dim=1) if x_needs_grad else None
        return None, None, None, x_grad, *skipped, *weight_grads


def _require_inverted(reconstructed: Tensor, original: Tensor) -> None:
    # Activations are of order one: for a stream of zeros, rounding errors are no failure.
    off = float((reconstructed - original).abs().max() / original.abs().max().clamp(min=1.0))
    if not off <= MAX_INVERSION_ERROR:
        msg = (
            "a reversible stage could not be inverted: the relative error of its reconstructed "
            f"input is {off:.2g}, and gradients would be incorrect. Its branches amplify rounding "
            "errors too much for so many couplings: use fewer (model.depth), fp32, or "
            "model.backend=checkpoint"
        )
        raise UserError(msg)
