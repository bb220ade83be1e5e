"""Small reversible stages, and what one step makes of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semilung.models import ReversibleStage

EXACT = ("fused", "checkpoint", "plain")


def branch(channels: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.GroupNorm(1, channels),
        nn.LeakyReLU(0.1),
        nn.Dropout3d(dropout),
        nn.Conv3d(channels, channels, 3, padding=1),
    )


def stage(backend: str, depth: int = 2, dropout: float = 0.0, channels: int = 8) -> ReversibleStage:
    torch.manual_seed(0)
    half = channels // 2
    pairs = [(branch(half, dropout), branch(half, dropout)) for _ in range(depth)]
    return ReversibleStage(pairs, backend=backend)


def image(requires_grad: bool = True, size: int = 6) -> Tensor:
    x = torch.randn(2, 8, size, size, size, generator=torch.Generator().manual_seed(1))
    return x.requires_grad_(requires_grad)


def rel_err(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).norm() / expected.norm()).item()


def gradients(
    net: nn.Module, x: Tensor, *, bf16: bool = False, before: nn.Module | None = None
) -> dict[str, Tensor]:
    """The gradients of one step in the input and in every weight that has one."""
    torch.manual_seed(7)  # the masks of dropout
    x = x.detach().requires_grad_(x.requires_grad)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        y = net(before(x) if before else x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return gradients if x.grad is None else {**gradients, "input": x.grad}


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor], bound: float) -> None:
    assert got.keys() == expected.keys()
    errors = {name: rel_err(got[name], expected[name]) for name in got}
    assert max(errors.values()) <= bound, errors
