"""The fused reversible backend: one autograd node for a whole chain of additive couplings.

A branch `h` (F or G of a coupling) takes the two halves of the stream a half-step further,
`(a, b) -> (b, a + h(b))`; two half-steps are one coupling. A half-step is undone by
`(p, q) -> (q - h(p), p)`, so backward walks the chain from the output alone: each branch runs once
more, and that one run serves both the inversion and the gradient. The idea of recomputing
activations from outputs is that of RevNets (Gomez et al., 2017); walking a whole 3D stage so is
due to Brügger et al., "A Partially Reversible U-Net" (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call

from semilung.models.loan import Loan
from semilung.types import UserError

Undone: TypeAlias = Callable[[Tensor, Tensor], None]

PROBED = 4
"""Of so many voxels along each axis a stage's input is kept, about."""

LARGEST_DRIFT = 0.1
"""A rebuilt input may be off by this share of its size, or of 1 where it is smaller.

Gradients are then off by some percent; a trained net of this project is off by 1e-7."""


def run_fused(
    branches: Sequence[nn.Module],
    x: Tensor,
    *,
    output: Loan | None = None,
    undone: Undone | None = None,
) -> Tensor:
    """Run the chain `F1, G1, F2, G2, ...` on `x` and keep only its output for backward.

    Args:
        branches: Modules that keep the shape of their input, `(B, C/2, *spatial)`. Backward works
            in place: a hook that keeps a branch's input from the second run sees it overwritten.
        x: `(B, C, *spatial)`, split in two halves by channel.
        output: With it, not even the output is kept: somebody else gives it back.
        undone: Called in backward with the halves of `x`, rebuilt, if a gradient of `x` is asked
            for. They are its own to overwrite.

    Returns:
        The chain's output, of the shape of `x`.

    Raises:
        RuntimeError: In backward, where a weight, a buffer or the train mode of a branch changed
            after the forward pass, the output was modified in place, or a second derivative is
            asked for.
        UserError: In backward, where the chain amplifies rounding so much that its input is not
            found again.
    """
    # Weights enter as inputs, so that autograd.grad and DDP's hooks see their gradients. A weight
    # that two branches share enters twice, and autograd adds the two gradients.
    weights = [weight for branch in branches for weight in branch.parameters()]
    inbox: list[Tensor] = []
    lean = (output, undone)
    y: Tensor = _FusedChain.apply(branches, inbox, lean, x, *weights)  # type: ignore[no-untyped-call]
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
        lean: tuple[Loan | None, Undone | None],
        x: Tensor,
        *_: Tensor,
    ) -> Tensor:
        a, b = x.chunk(2, dim=1)
        ctx.inbox, ctx.runs, ctx.probe = inbox, [], _probe(b)
        ctx.output, ctx.undone = lean
        for branch in branches:
            run = _Run.begin(branch, x.device)
            with run.autocast():
                value = branch(b)
            a, b = b, a + value
            del value  # else it would live on through the next run
            ctx.runs.append(run)
        y = torch.cat((a, b), dim=1)
        if ctx.output is None:
            ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y = ctx.output.close() if ctx.output else ctx.saved_tensors[0]
        runs: list[_Run] = ctx.runs
        x_needs_grad = ctx.needs_input_grad[3]
        undone: Undone | None = ctx.undone if x_needs_grad else None
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
                _require_undone(_probe(a), ctx.probe)
            value, pull_back = runs[k].again(a, x_needs_grad or k > first)
            if k > first or undone:  # else what is undone last is an input that nobody reads
                b.sub_(value)
            del value  # before the gradient's temporaries, where memory peaks
            input_grad, *grads = pull_back(grad_b)
            weight_grads = grads + weight_grads
            if input_grad is not None:
                # Not in place: the gradient of a weight that is merely added is `grad_b` itself.
                grad_a = grad_a + input_grad
            del input_grad, pull_back  # else they would live on through the next run
            a, b, grad_a, grad_b = b, a, grad_b, grad_a
        if undone:
            undone(a, b)
        del a, b
        skipped = [None for run in runs[:first] for _ in run.weights]
        x_grad = torch.cat((grad_a, grad_b), dim=1) if x_needs_grad else None
        return None, None, None, x_grad, *skipped, *weight_grads


def _probe(half: Tensor) -> Tensor:
    """A copy of some voxels of the stream, by which the walk back knows whether it has arrived."""
    steps = (slice(None, None, max(1, size // PROBED)) for size in half.shape[2:])
    return half.detach()[(slice(None), slice(None), *steps)].clone()


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


@dataclass(frozen=True)
class _Run:
    """How a branch ran, in enough detail to run it again bit for bit."""

    branch: nn.Module
    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    trainable: list[bool]
    versions: list[int]
    training: list[bool]
    device: torch.device
    rng: list[Tensor]
    precision: tuple[torch.dtype, bool]

    @classmethod
    def begin(cls, branch: nn.Module, device: torch.device) -> _Run:
        # The tensors themselves, not the module's names for them: under functional_call the
        # module holds other weights by the time of backward.
        weights, buffers = dict(branch.named_parameters()), dict(branch.named_buffers())
        kind = device.type
        return cls(
            branch=branch,
            weights=weights,
            buffers=buffers,
            trainable=[weight.requires_grad for weight in weights.values()],
            versions=[tensor._version for tensor in (*weights.values(), *buffers.values())],
            training=[module.training for module in branch.modules()],
            device=device,
            rng=_rng_states(device),
            precision=(torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)),
        )

    def autocast(self) -> torch.autocast:
        # Without the cache: a run casts each weight once, and entries would outlive the run.
        dtype, enabled = self.precision
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled, cache_enabled=False)

    def again(
        self, z: Tensor, z_needs_grad: bool
    ) -> tuple[Tensor, Callable[[Tensor], list[Tensor | None]]]:
        """The branch's value at `z`, and the map from its gradient to those of `z` and weights."""
        self._check_unchanged()
        # Detached, so that hooks on the caller's tensors see a gradient once, at the outer node.
        leaf = z.detach().requires_grad_(z_needs_grad)
        weights = {
            name: weight.detach().requires_grad_(trainable)
            for (name, weight), trainable in zip(self.weights.items(), self.trainable, strict=True)
        }
        with torch.enable_grad(), _rng(self.device, self.rng), self.autocast():
            value = functional_call(self.branch, {**weights, **self.buffers}, (leaf,))
        tensors = [leaf, *weights.values()]
        return value.detach(), _pull_back(value, tensors)

    def _check_unchanged(self) -> None:
        if self.training != [module.training for module in self.branch.modules()]:
            msg = (
                "a reversible stage was switched between train and eval mode after its forward "
                "pass and before its backward pass; call backward first"
            )
            raise RuntimeError(msg)
        tensors = {**self.weights, **self.buffers}
        for (name, tensor), version in zip(tensors.items(), self.versions, strict=True):
            if tensor._version != version:
                msg = (
                    f"{name!r} of a reversible stage was modified in place between forward and "
                    f"backward (version {version} became {tensor._version}), so its input can not "
                    "be recomputed; call backward before the optimizer's step"
                )
                raise RuntimeError(msg)


def _pull_back(value: Tensor, tensors: list[Tensor]) -> Callable[[Tensor], list[Tensor | None]]:
    """The map from the gradient of `value` to those of `tensors`; it does not hold `value`."""
    if not value.requires_grad:
        return lambda _: [None] * len(tensors)
    dtype, edge = value.dtype, get_gradient_edge(value)
    wanted = [tensor for tensor in tensors if tensor.requires_grad]

    def pull_back(grad: Tensor) -> list[Tensor | None]:
        found = iter(torch.autograd.grad((edge,), wanted, (grad.to(dtype),), allow_unused=True))
        return [next(found) if tensor.requires_grad else None for tensor in tensors]

    return pull_back


def _rng_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cpu":
        return states
    return [*states, torch.get_device_module(device).get_rng_state(device)]


@contextmanager
def _rng(device: torch.device, states: list[Tensor]) -> Iterator[None]:
    """Draw from `states` inside, and leave the generators outside as they were."""
    cpu, *others = states
    kind = device.type if others else "cuda"
    with torch.random.fork_rng(devices=[device] if others else [], device_type=kind):
        torch.set_rng_state(cpu)
        for state in others:
            torch.get_device_module(device).set_rng_state(state, device)
        yield
