"""Skips of the reversible U-Net that are reconstructed in backward instead of stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semilung.models import ReversibleUNet3d
from semilung.models.skip_recompute import RecomputedSkip
from semilung.types import UserError


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


class Alive:
    """Counts activations that are still referenced."""

    def __init__(self) -> None:
        self.storages: list[ref[Any]] = []

    def add(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (3, 3, 3) and x.ndim == 5 and len(x) == len(image()):
            self.storages.append(ref(x.untyped_storage()))
        return x

    def look(self, x: Tensor) -> None:
        self.add(x)

    def of(self, net: nn.Module) -> nn.Module:
        """The net, whose features are looked at."""
        for stage in (*net.encoder, *net.decoder, *net.up, *net.down):
            stage.register_forward_hook(lambda m, args, out: self.look(out))
        return net

    def count(self) -> int:
        return sum(storage() is not None for storage in self.storages)


def skips_alive(net: ReversibleUNet3d) -> list[bool]:
    """Return for each skip whether it is alive when the last stage starts."""
    skips: list[ref[Any]] = []
    alive: list[list[bool]] = []

    def look(*_: Any) -> None:
        alive.append([skip() is not None for skip in skips])

    for stage in list(net.encoder)[:-1]:
        # Autograd and the way down save other tensors of the same storage, so that is watched.
        stage.register_forward_hook(lambda m, args, out: skips.append(ref(out.untyped_storage())))
    net.decoder[0].register_forward_pre_hook(look)
    logits = net(image())
    look()
    assert logits.shape[0] == 2
    assert alive[0] == alive[1]
    return alive[0]


@pytest.mark.parametrize(
    ("options", "alive"),
    [
        ({}, [False, False]),
        ({"backend": "plain"}, [True, True]),
        ({"backend": "checkpoint"}, [True, True]),
        ({"depth": (0, 1, 1)}, [True, False]),
    ],
)
def test_skips_are_released_before_backward(options: dict[str, Any], alive: list[bool]) -> None:
    assert skips_alive(unet(**options)) == alive


@pytest.mark.parametrize("how", ["usual", "drowned", "encoder in eval", "encoder frozen"])
def test_graph_stores_nothing_after_backward(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, restore = Alive(), RecomputedSkip.restore

    def watched(self: RecomputedSkip, *args: Tensor) -> None:
        restore(self, *args)
        saved.add(self.value())

    monkeypatch.setattr(RecomputedSkip, "restore", watched)
    net = unet()
    net.up[0].weight.data.mul_(1e6 if how == "drowned" else 1.0)
    net.encoder.train(how != "encoder in eval")
    for part in (net.stem, net.encoder):
        part.requires_grad_(how != "encoder frozen")
    with torch.autograd.graph.saved_tensors_hooks(saved.add, lambda x: x):
        loss = net(image()).sum()
    loss.backward()
    assert loss.grad_fn is not None  # the graph is still there
    assert saved.storages
    assert saved.count() == 0


def test_skips_of_zeros_are_reconstructed() -> None:
    net = unet(widths=(4, 8))
    with torch.no_grad():
        for part in (net.stem, net.encoder[0], net.up):
            for weight in part.parameters():
                weight.zero_()
        net.decoder[0].couplings[0].f[2].bias.fill_(0.3)
    assert_same(gradients(net), gradients(net.train()))


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_with_a_reconstructed_skip_equal_those_with_a_stored_one(stride: int) -> None:
    assert_same(gradients(unet(stride=stride)), gradients(unet("plain", stride=stride)))


@pytest.mark.parametrize(
    "frozen", ["stem", "encoder", "down", "up", "decoder", ("stem", "encoder")]
)
def test_frozen_parts(frozen: str | tuple[str, ...]) -> None:
    def net(backend: str) -> ReversibleUNet3d:
        result = unet(backend)
        for name, weight in result.named_parameters():
            weight.requires_grad_(not name.startswith(frozen))
        return result

    assert_same(gradients(net("fused")), gradients(net("plain")))


def test_stages_of_two_modes() -> None:
    def net(backend: str) -> ReversibleUNet3d:
        result = unet(backend, dropout=0.3)
        result.decoder.eval()
        result.encoder[1].eval()
        return result

    def masked(result: ReversibleUNet3d) -> dict[str, Tensor]:
        torch.manual_seed(3)
        return gradients(result)

    assert_same(masked(net("fused")), masked(net("plain")))


def test_skip_lost_to_rounding_in_the_sum_is_stored() -> None:
    def net(backend: str) -> ReversibleUNet3d:
        result = unet(backend, widths=(4, 8))
        result.up[0].weight.data.mul_(1e6)
        return result

    assert skips_alive(net("fused")) == [True]
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
    for name in (
        "down.0.weight",
        "encoder.0.couplings.1.f.2.weight",
        "up.1.weight",
        "decoder.0.couplings.1.g.2.bias",
    ):
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


def test_loss_on_inner_features_raises() -> None:
    net, features = unet(), []
    net.encoder[-1].register_forward_hook(lambda m, args, out: features.append(out))
    net(image())
    with pytest.raises(RuntimeError, match=r"loss on inner features needs model\.backend"):
        features[0].sum().backward()


def test_downsampling_changed_before_backward_raises() -> None:
    net = unet()
    loss = net(image()).sum()
    with torch.no_grad():
        net.down[0].weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="'weight' of a reversible network was modified"):
        loss.backward()


def noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def in_place(x: Tensor) -> Tensor:
    x.detach().mul_(1.1)
    return x


@pytest.mark.parametrize("change", [noisy, in_place])
def test_features_changed_by_a_hook_raise(change: Callable[[Tensor], Tensor]) -> None:
    net = unet()
    net.encoder[0].register_forward_hook(lambda m, args, out: change(out))
    with pytest.raises(UserError, match=r"a hook changed features.*model.backend=checkpoint"):
        gradients(net)
    net = unet()
    net.decoder[0].register_forward_pre_hook(lambda m, args: (change(args[0]),))
    with pytest.raises(UserError, match="could not be reconstructed"):
        gradients(net)


def test_decoder_that_amplifies_rounding_raises() -> None:
    net = unet(widths=(8, 16), depth=4)
    with torch.no_grad():
        for part in (net.stem, net.encoder[0]):
            part.requires_grad_(False)
        net.encoder[0].couplings[0].f[2].weight.requires_grad_(True)
        for name, weight in net.decoder.named_parameters():
            weight.mul_(40.0 if name.endswith("weight") else 1.0)
        net.stem.weight.mul_(0.05)
    with pytest.raises(UserError, match=r"could not be reconstructed|could not be inverted"):
        gradients(net)


@pytest.mark.parametrize("bf16", [False, True])
def test_checkpointing_keeps_nothing_inside(bf16: bool) -> None:
    """What runs again anyway holds nothing of its own, however large."""
    net, saved = unet(), Alive()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = checkpoint(saved.of(net), image(), use_reentrant=False).sum()
    assert loss.requires_grad
    assert saved.count() == 0


def test_an_empty_batch_passes() -> None:
    assert unet()(image()[:0]).shape == (0, 1, 8, 12, 8)
