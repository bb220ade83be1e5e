"""Errors of a reversible stage: changes between forward and backward, and layers that vary."""

from __future__ import annotations

import pytest
import torch
from reversible_stages import image, stage
from torch import Tensor, nn
from torch.func import functional_call

from semilung.models import ReversibleStage
from semilung.types import UserError


@pytest.mark.parametrize("constant", [False, True])
def test_second_derivative_raises(constant: bool) -> None:
    """Also where the gradient that comes in is a constant, as that of a critic's mean."""
    x = image()
    y = stage("fused")(x)
    loss = y.mean() if constant else y.square().sum()
    (grad,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.square().sum().backward()


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, 4, 1)
        self.register_buffer("gain", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.conv(x)


def test_buffers_are_those_of_the_forward_pass() -> None:
    torch.manual_seed(0)
    nets = {b: ReversibleStage([(Gain(), Gain())], backend=b) for b in ("fused", "plain")}
    nets["plain"].load_state_dict(nets["fused"].state_dict())
    captured = []
    for net in nets.values():
        x = image()
        y = functional_call(net, {"couplings.0.f.gain": torch.tensor(3.0)}, (x,))
        captured.append(torch.autograd.grad(y.square().sum(), x)[0])
    torch.testing.assert_close(*captured)
    loss = nets["fused"](image()).sum()
    nets["fused"].couplings[0].f.gain.mul_(2)
    with pytest.raises(RuntimeError, match=r"'gain'.* was modified in place"):
        loss.backward()


def test_the_mode_of_an_inner_layer_changed_before_backward_raises() -> None:
    net = stage("fused", dropout=0.5)
    loss = net(image()).sum()
    net.couplings[1].g[2].eval()
    with pytest.raises(RuntimeError, match="switched between train and eval"):
        loss.backward()


def test_stage_that_amplifies_rounding_raises() -> None:
    """Its branches amplify, so that rounding in the output hides the input."""
    torch.manual_seed(0)
    pairs = [(nn.Conv3d(4, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)) for _ in range(6)]
    loud = ReversibleStage(pairs, backend="fused")
    with torch.no_grad():
        for conv in (m for m in loud.modules() if isinstance(m, nn.Conv3d)):
            conv.weight.mul_(5)
    with pytest.raises(UserError, match=r"could not be inverted.* fewer \(model.depth\)"):
        loud(image()).sum().backward()


@pytest.mark.parametrize("which", ["couplings.0.f.3.weight", "couplings.1.g.0.bias"])
def test_weight_changed_before_backward_raises(which: str) -> None:
    net = stage("fused")
    loss = net(image()).sum()
    with torch.no_grad():
        net.get_parameter(which).add_(1.0)
    with pytest.raises(RuntimeError, match="modified in place between forward and backward"):
        loss.backward()


def test_mode_changed_before_backward_raises() -> None:
    net = stage("fused", dropout=0.4)
    loss = net(image()).sum()
    net.eval()
    with pytest.raises(RuntimeError, match="between train and eval"):
        loss.backward()


def test_output_changed_before_backward_raises() -> None:
    y = stage("fused")(image())
    loss = y.sum()
    y.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("bf16", [False, True])
def test_stage_inverts_a_stream_of_zeros(bf16: bool) -> None:
    """Such as a crop of air, of which rounding leaves something that is not 0."""
    x = torch.zeros(1, 8, 6, 6, 6, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        y = stage("fused", depth=8)(x)
    y.square().sum().backward()


def test_refusals_at_construction() -> None:
    conv = nn.Conv3d(4, 4, 1)
    with pytest.raises(ValueError, match="unknown backend 'fussed'"):
        ReversibleStage([(conv, conv)], backend="fussed")
    norm = nn.BatchNorm3d(4)
    with pytest.raises(ValueError, match=r"0\.g.*running statistics"):
        ReversibleStage([(conv, nn.Sequential(conv, norm))])
    for spectral in (nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm):
        with pytest.raises(ValueError, match="spectral norm"):
            ReversibleStage([(spectral(nn.Conv3d(4, 4, 1)), conv)])
    ReversibleStage([(nn.InstanceNorm3d(4), nn.utils.parametrizations.weight_norm(conv))])


def test_odd_channels_raise() -> None:
    with pytest.raises(ValueError, match="found an odd number, 7"):
        stage("fused")(image()[:, :7])


def test_memcnn_refuses_dropout_and_mixed_precision() -> None:
    with pytest.raises(UserError, match=r"dropout.*p=0\.4"):
        stage("memcnn", dropout=0.4)
    random_branches = [(nn.RReLU(), nn.Conv3d(4, 4, 1))]
    with pytest.raises(UserError, match="RReLU"):
        ReversibleStage(random_branches, backend="memcnn")
    net = stage("memcnn")
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(UserError, match="mixed precision"),
    ):
        net(image())
    with pytest.raises(UserError, match="float64"):
        net.double()(image().double())
