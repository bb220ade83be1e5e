"""Skips of the reversible U-Net that are given back by backward rather than kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semilung.models import ReversibleUNet3d
from semilung.models.loan import Loan


def unet(backend: str = "fused", **options: Any) -> ReversibleUNet3d:
    torch.manual_seed(0)
    return ReversibleUNet3d(**{"widths": (4, 8, 8), "depth": 2, "backend": backend} | options)


def image() -> Tensor:
    return torch.randn(2, 1, 8, 12, 8, generator=torch.Generator().manual_seed(1))


def gradients(net: nn.Module, run: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
    x = image().requires_grad_()
    (run or net)(x).square().sum().backward()
    named = {"input": x, **dict(net.named_parameters())}
    return {name: tensor.grad for name, tensor in named.items() if tensor.grad is not None}


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor], bound: float = 1e-5) -> None:
    assert got.keys() == expected.keys()
    scale = max(grad.norm() for grad in expected.values())
    for name, grad in expected.items():
        assert (got[name] - grad).norm() <= bound * max(grad.norm(), 1e-3 * scale), name


def kept_skips(net: ReversibleUNet3d) -> list[bool]:
    """Of each skip whether it is alive when the last stage begins, and after it."""
    skips: list[ref[Any]] = []
    kept: list[list[bool]] = []

    def look(*_: Any) -> None:
        kept.append([skip() is not None for skip in skips])

    for stage in list(net.encoder)[:-1]:
        # Autograd and the way down save other tensors of the same storage, so that is watched.
        stage.register_forward_hook(lambda m, args, out: skips.append(ref(out.untyped_storage())))
    net.decoder[0].register_forward_pre_hook(look)
    logits = net(image())
    look()
    assert logits.shape[0] == 2
    assert kept[0] == kept[1]
    return kept[0]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [False, False]),
        ({"backend": "plain"}, [True, True]),
        ({"backend": "checkpoint"}, [True, True]),
        ({"depth": (0, 1, 1)}, [True, False]),
    ],
)
def test_backward_needs_no_skip(options: dict[str, Any], kept: list[bool]) -> None:
    assert kept_skips(unet(**options)) == kept


def test_what_was_given_back_does_not_outlive_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[ref[Any]] = []

    def give_back(self: Loan, value: Tensor) -> None:
        given.append(ref(value.untyped_storage()))
        self._returned = value

    monkeypatch.setattr(Loan, "give_back", give_back)
    loss = unet()(image()).sum()
    loss.backward()
    assert [skip() for skip in given] == [None, None]
    del loss  # which held the graph until here


@pytest.mark.parametrize("stride", [1, 2])
def test_a_skip_that_was_given_back_serves_as_the_one_that_was_kept(stride: int) -> None:
    assert_same(gradients(unet(stride=stride)), gradients(unet("plain", stride=stride)))


@pytest.mark.parametrize(
    "frozen", ["stem", "encoder", "down", "up", "decoder", ("stem", "encoder")]
)
def test_frozen_parts(frozen: str | tuple[str, ...]) -> None:
    def net(backend: str) -> ReversibleUNet3d:
        made = unet(backend)
        for name, weight in made.named_parameters():
            weight.requires_grad_(not name.startswith(frozen))
        return made

    assert_same(gradients(net("fused")), gradients(net("plain")))


def test_stages_of_two_modes() -> None:
    def net(backend: str) -> ReversibleUNet3d:
        made = unet(backend, dropout=0.3)
        made.decoder.eval()
        made.encoder[1].eval()
        return made

    def masked(made: ReversibleUNet3d) -> dict[str, Tensor]:
        torch.manual_seed(3)
        return gradients(made)

    assert_same(masked(net("fused")), masked(net("plain")))


def test_a_skip_that_the_sum_would_drown_is_kept() -> None:
    def net(backend: str) -> ReversibleUNet3d:
        made = unet(backend, widths=(4, 8))
        made.up[0].weight.data.mul_(1e6)
        return made

    assert kept_skips(net("fused")) == [True]
    assert_same(gradients(net("fused")), gradients(net("plain")), 1e-4)


def test_backward_twice_over_a_retained_graph() -> None:
    for drowned in (False, True):
        net = unet()
        net.up[0].weight.data.mul_(1e6 if drowned else 1.0)
        loss = net(image()).square().mean()
        first = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
        again = torch.autograd.grad(loss, list(net.parameters()))
        for a, b in zip(first, again, strict=True):
            assert torch.equal(a, b)


def test_gradients_of_some_weights_alone() -> None:
    net, expected = unet(), gradients(unet("plain"))
    for name in ("down.0.weight", "encoder.0.couplings.1.f.2.weight", "up.1.weight"):
        loss = net(image()).square().sum()
        (got,) = torch.autograd.grad(loss, [net.get_parameter(name)])
        torch.testing.assert_close(got, expected[name], rtol=1e-4, atol=1e-5)


def test_two_forwards_before_one_backward() -> None:
    def twice(net: ReversibleUNet3d) -> dict[str, Tensor]:
        return gradients(net, lambda x: net(x) + net(x.flip(2)))

    assert_same(twice(unet()), twice(unet("plain")))


def test_inside_activation_checkpointing() -> None:
    net = unet()
    got = gradients(net, lambda x: checkpoint(net, x, use_reentrant=False))
    assert_same(got, gradients(unet("plain")))


def test_a_loss_on_inner_features_is_refused() -> None:
    net, seen = unet(), []
    net.encoder[-1].register_forward_hook(lambda m, args, out: seen.append(out))
    net(image())
    with pytest.raises(RuntimeError, match="loss on inner features needs model backend"):
        seen[0].sum().backward()


def test_a_way_down_that_changed_before_backward_raises() -> None:
    net = unet()
    loss = net(image()).sum()
    with torch.no_grad():
        net.down[0].weight.mul_(2.0)
    with pytest.raises(RuntimeError, match=r"shape \(8, 4, 2, 2, 2\).*modified in place"):
        loss.backward()


def test_only_the_lent_tensor_is_stood_in_for() -> None:
    x, other = torch.rand(3), torch.rand(3)
    w, loan = torch.rand(3, requires_grad=True), Loan()
    with loan.standing_in_for(x):
        y = (x * w).sum() + (other * w).sum()
    value = torch.rand(3)
    loan.give_back(value)
    y.backward()
    torch.testing.assert_close(w.grad, value + other)
