"""The fused reversible backend: one autograd node for a whole chain of additive couplings.

A branch `h` (F or G of a coupling) takes the two halves of the stream a half-step further,
`(a, b) -> (b, a + h(b))`; two half-steps are one coupling. A half-step is undone by
`(p, q) -> (q - h(p), p)`, so backward walks the chain from the output alone: each branch runs once
more, and that one run serves both the inversion and the gradient. The idea of recomputing
activations from outputs is that of RevNets (Gomez et al., 2017); walking a whole 3D stage so is
due to Brügger et al., "A Partially Reversible U-Net" (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semilung.models.loan import Loan, probe
from semilung.models.rerun import Run
from semilung.types import UserError

LARGEST_DRIFT = 0.1
"""A rebuilt input may be off by this share of its size, or of 1 where it is smaller.

Gradients are then off by some percent; a trained net of this project is off by 1e-7."""


def run_fused(
    branches: Sequence[nn.Module],
    x: Tensor,
    *,
    output: Loan | None = None,
    total: Loan | None = None,
) -> Tensor:
    """Run the chain `F1, G1, F2, G2, ...` on `x` and keep only its output for backward.

    Args:
        branches: Modules that keep the shape of their input, `(B, C/2, *spatial)`. Backward works
            in place: a hook that keeps a branch's input from the second run sees it overwritten.
        x: `(B, C, *spatial)`, split in two halves by channel.
        output: Lends the output, which then is not even kept.
        total: Takes the rebuilt `x` in backward; a gradient of `x` is asked for then.

    Returns:
        The chain's output, of the shape of `x`.

    Raises:
        RuntimeError: In backward, where a weight, a buffer or the train mode of a branch changed
            after the forward pass, an output that is not lent was modified in place, or a second
            derivative is asked for.
        UserError: In backward, where the chain amplifies rounding so much that its input is not
            found again.
    """
    # Weights enter as inputs, so that autograd.grad and DDP's hooks see their gradients. A weight
    # that two branches share enters twice, and autograd adds the two gradients.
    weights = [weight for branch in branches for weight in branch.parameters()]
    inbox: list[Tensor] = []
    loans = (output, total)
    y: Tensor = _FusedChain.apply(branches, inbox, loans, x, *weights)  # type: ignore[no-untyped-call]
    if y.grad_fn is not None:
        y.grad_fn.register_prehook(partial(_take, inbox))
    return y


def _take(inbox: list[Tensor], grads: tuple[Tensor | None]) -> tuple[Tensor] | None:
    """Copy the halves of the gradient that comes in, and let a stand-in go on to the node.

    Autograd holds what it hands to a node until the node is done: here, a gradient of the whole
    stage beside the two halves that backward works in. Of the stand-in it holds one number.
    """
    (grad,) = grads
    if grad is None:
        return None
    inbox[:] = _copied_halves(grad.detach())
    # It asks for a gradient where a second derivative may be taken, which autograd then refuses.
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
        loans: tuple[Loan | None, Loan | None],
        x: Tensor,
        *_: Tensor,
    ) -> Tensor:
        a, b = x.chunk(2, dim=1)
        ctx.inbox, ctx.runs, ctx.probe = inbox, [], probe(b)
        ctx.output, ctx.total = output, total = loans
        for branch in branches:
            run = Run.begin(branch, x.device)
            with run.autocast():
                value = branch(b)
            a, b = b, a + value
            del value  # else it would live on through the next run
            ctx.runs.append(run)
        y = torch.cat((a, b), dim=1)
        if output is not None:
            output.lend(y)
        # What is saved so is freed with the graph, and seen by a caller's hooks (checkpoint).
        ctx.save_for_backward(y if output is None else None, total.hand_over() if total else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, handed_over = ctx.saved_tensors
        if ctx.output is not None:
            y = ctx.output.close()
        runs: list[Run] = ctx.runs
        x_needs_grad = ctx.needs_input_grad[3]
        total: Loan | None = ctx.total
        # Below the first run that a gradient reaches there is nothing to do.
        first = 0 if x_needs_grad else next(k for k, run in enumerate(runs) if any(run.trainable))
        # The output may be anyone's, as a skip connection: it is undone on a copy, and lives on
        # only where someone else holds it.
        a, b = _copied_halves(y)
        del y
        ctx.maybe_clear_saved_tensors()
        grad_a, grad_b = ctx.inbox or _copied_halves(grad)
        ctx.inbox.clear()
        weight_grads: list[Tensor | None] = []
        for k in reversed(range(first, len(runs))):
            if k == 0:
                _require_undone(probe(a), ctx.probe)
            value, pull_back = runs[k].again(a, x_needs_grad or k > first)
            if k > first or total:  # else what is undone last is an input that nobody reads
                b.sub_(value)
            del value  # before the gradient's temporaries, where memory peaks
            input_grad, *grads = pull_back(grad_b)
            weight_grads = grads + weight_grads
            if input_grad is not None:
                # Not in place: the gradient of a weight that is merely added is `grad_b` itself.
                grad_a = grad_a + input_grad
            del input_grad, pull_back  # else they would live on through the next run
            a, b, grad_a, grad_b = b, a, grad_b, grad_a
        if total:
            total.give_back(a, b, handed_over)
        del a, b, handed_over
        skipped = [None for run in runs[:first] for _ in run.weights]
        x_grad = torch.cat((grad_a, grad_b), dim=1) if x_needs_grad else None
        return None, None, None, x_grad, *skipped, *weight_grads


def _require_undone(found: Tensor, given: Tensor) -> None:
    # Activations are of order one: a stream of zeros is not off for what rounding leaves of it.
    off = float((found - given).abs().max() / given.abs().max().clamp(min=1.0))
    if not off <= LARGEST_DRIFT:
        msg = (
            "a reversible stage could not be undone: its input, rebuilt from its output, is off by "
            f"{off:.2g} of its size, and its gradients would be wrong. Its branches amplify "
            "rounding too much for so many couplings: use fewer (model.depth), fp32, or backend "
            "checkpoint"
        )
        raise UserError(msg)
