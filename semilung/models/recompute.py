"""Recompute a module in backward, bit for bit, instead of storing its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call


@dataclass(frozen=True)
class RecordedCall:
    """The state of a module's forward call: weights, modes, random state and precision."""

    module: nn.Module
    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    trainable: list[bool]
    versions: list[int]
    training: list[bool]
    device: torch.device
    rng: list[Tensor]
    precision: tuple[torch.dtype, bool]

    @classmethod
    def record(cls, module: nn.Module, device: torch.device) -> RecordedCall:
        """Record the state before a call; the caller runs the module under `autocast()`."""
        # The tensors, not their names: under functional_call the module has other weights in
        # backward.
        weights, buffers = dict(module.named_parameters()), dict(module.named_buffers())
        kind = device.type
        return cls(
            module=module,
            weights=weights,
            buffers=buffers,
            trainable=[weight.requires_grad for weight in weights.values()],
            versions=[tensor._version for tensor in (*weights.values(), *buffers.values())],
            training=[part.training for part in module.modules()],
            device=device,
            rng=_rng_states(device),
            precision=(torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)),
        )

    def autocast(self) -> torch.autocast:
        """Return the autocast context of the call."""
        # Without the cache: a call casts each weight once, and entries would outlive the call.
        dtype, enabled = self.precision
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled, cache_enabled=False)

    def replay(
        self, z: Tensor, z_needs_grad: bool
    ) -> tuple[Tensor, Callable[[Tensor], list[Tensor | None]]]:
        """Return the output at `z`, and its vector-Jacobian product for `z` and the weights."""
        self._check_unchanged()
        # Detached, so that hooks on the caller's tensors see each gradient once, at the outer node.
        leaf = z.detach().requires_grad_(z_needs_grad)
        weights = {
            name: weight.detach().requires_grad_(trainable)
            for (name, weight), trainable in zip(self.weights.items(), self.trainable, strict=True)
        }
        with torch.enable_grad(), _rng(self.device, self.rng), self.autocast():
            value = functional_call(self.module, {**weights, **self.buffers}, (leaf,))
        tensors = [leaf, *weights.values()]
        return value.detach(), _pull_back(value, tensors)

    def _check_unchanged(self) -> None:
        if self.training != [part.training for part in self.module.modules()]:
            msg = (
                "a module of a reversible network was switched between train and eval mode after "
                "its forward pass and before its backward pass; call backward first"
            )
            raise RuntimeError(msg)
        tensors = {**self.weights, **self.buffers}
        for (name, tensor), version in zip(tensors.items(), self.versions, strict=True):
            if tensor._version != version:
                msg = (
                    f"{name!r} of a reversible network was modified in place between forward and "
                    f"backward (version {version} became {tensor._version}), so its input "
                    "cannot be recomputed; call backward before the optimizer's step"
                )
                raise RuntimeError(msg)


def _pull_back(value: Tensor, tensors: list[Tensor]) -> Callable[[Tensor], list[Tensor | None]]:
    """Return the vector-Jacobian product of `value` for `tensors`, without a reference to it."""
    if not value.requires_grad:
        return lambda _: [None] * len(tensors)
    dtype, edge = value.dtype, get_gradient_edge(value)
    wanted = [tensor for tensor in tensors if tensor.requires_grad]

    def pull_back(grad: Tensor) -> list[Tensor | None]:
        grads = iter(torch.autograd.grad((edge,), wanted, (grad.to(dtype),), allow_unused=True))
        return [next(grads) if tensor.requires_grad else None for tensor in tensors]

    return pull_back


def _rng_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cpu":
        return states
    return [*states, torch.get_device_module(device).get_rng_state(device)]


@contextmanager
def _rng(device: torch.device, states: list[Tensor]) -> Iterator[None]:
    """Set the random generators to `states` inside the block, and restore them after it."""
    cpu, *others = states
    kind = device.type if others else "cuda"
    with torch.random.fork_rng(devices=[device] if others else [], device_type=kind):
        torch.set_rng_state(cpu)
        for state in others:
            torch.get_device_module(device).set_rng_state(state, device)
        yield
