"""What a reversible stage refuses, since its recomputation could not undo it."""

from __future__ import annotations

import pytest
import torch
from reversible_stages import image, stage
from torch import nn

from semilung.models import ReversibleStage
from semilung.types import UserError


def test_second_derivative_raises() -> None:
    x = image()
    (grad,) = torch.autograd.grad(stage("fused")(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


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


def test_refusals_at_construction() -> None:
    conv = nn.Conv3d(4, 4, 1)
    with pytest.raises(ValueError, match="at least one coupling"):
        ReversibleStage([])
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
    with pytest.raises(ValueError, match="found 7, an odd number"):
        stage("fused")(image()[:, :7])


def test_memcnn_refuses_what_it_gets_wrong() -> None:
    with pytest.raises(UserError, match=r"dropout.*p=0\.4"):
        stage("memcnn", dropout=0.4)
    net = stage("memcnn")
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(UserError, match="mixed precision"),
    ):
        net(image())
    with pytest.raises(UserError, match="float64"):
        net.double()(image().double())
