"""Modules that run once more in backward, bit for bit, instead of keeping what they made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call


@dataclass(frozen=True)
class Run:
    """How a module ran, in enough detail to run it again bit for bit."""

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
    def begin(cls, module: nn.Module, device: torch.device) -> Run:
        """A run that begins now; the caller runs the module itself, under `autocast()`."""
        # The tensors themselves, not the module's names for them: under functional_call the
        # module holds other weights by the time of backward.
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
        """The precision in which the module ran."""
        # Without the cache: a run casts each weight once, and entries would outlive the run.
        dtype, enabled = self.precision
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled, cache_enabled=False)

    def again(
        self, z: Tensor, z_needs_grad: bool
    ) -> tuple[Tensor, Callable[[Tensor], list[Tensor | None]]]:
        """The module's value at `z`, and the map from its gradient to those of `z` and weights."""
        self._check_unchanged()
        # Detached, so that hooks on the caller's tensors see a gradient once, at the outer node.
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
                "a part of a reversible net was switched between train and eval mode after its "
                "forward pass and before its backward pass; call backward first"
            )
            raise RuntimeError(msg)
        tensors = {**self.weights, **self.buffers}
        for (name, tensor), version in zip(tensors.items(), self.versions, strict=True):
            if tensor._version != version:
                msg = (
                    f"{name!r} of a reversible net was modified in place between forward and "
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
