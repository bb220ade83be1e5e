"""The net that other programs run: its outputs, its sizes, and the comparison before writing."""

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from semilung.export.activated_net import ActivatedNet
from semilung.inference.outputs import foreground_probability
from semilung.models import build_model
from semilung.models.conv import is_exporting
from semilung.types import UserError

HEADS = {"logits": foreground_probability}


@pytest.fixture(scope="module")
def activated():
    torch.manual_seed(0)
    options = {"widths": (4, 8), "depth": 1, "padding": "replicate"}
    return ActivatedNet(build_model("reversible_unet", options), HEADS)


def program(net, *, scale=1.0, cut=slice(None)):
    return lambda image: [output.numpy()[..., cut] * scale for output in net(image)]


def test_activated_net_returns_probabilities_by_name(activated):
    (output,) = activated(activated.example())
    assert activated.names == ["probability"]
    assert 0 < output.min() < output.max() < 1
    assert not output.requires_grad


def test_activated_net_multiple_is_what_the_net_accepts():
    class Strided(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = UNet(3, 1, 1, channels=(2, 4, 8), strides=(2, 2))

        def forward(self, x):
            return {"logits": self.net(x)}

    net = ActivatedNet(Strided(), HEADS)
    assert net.multiple == 4
    assert all(size % 4 == 0 for size in net.example().shape[2:])
    net.require_equal(program(net))


def test_require_equal_accepts_equal_and_refuses_other_programs(activated):
    assert activated.multiple == 1
    activated.require_equal(program(activated))
    for other, message in [
        (program(activated, scale=1.1), "differs from the run's by 0.00"),
        (program(activated, scale=np.nan), "differs from the run's by nan"),
        (program(activated, cut=slice(1, None)), "differs from the run's by inf"),
        (lambda image: 1 / 0, "fails at 24 x 32 x 40 voxels: division by zero"),
    ]:
        with pytest.raises(UserError, match=message):
            activated.require_equal(other)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("reversible_unet", {"widths": (4, 8), "depth": 1, "padding": "replicate"}),
        ("reversible_unet", {"widths": (8, 8), "depth": 1, "stride": 2, "conv": "separable"}),
        ("segresnet", {"blocks_down": (1, 1), "blocks_up": (1,)}),
    ],
)
def test_networks_recorded_at_one_size_are_equal_at_others(name, options):
    torch.manual_seed(0)
    net = ActivatedNet(build_model(name, options), HEADS)
    with torch.no_grad():
        traced = torch.jit.trace(net, net.example(), check_trace=False)
    net.require_equal(lambda image: [output.numpy() for output in traced(image)])
    assert not is_exporting()
