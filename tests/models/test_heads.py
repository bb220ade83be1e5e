"""Heads at a stride of the image."""

import pytest
import torch

from semilung.models import Head, build_model
from semilung.types import UserError

SMALL = {"widths": (4, 8), "depth": 1}


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("size", [(16, 16, 16), (15, 9, 6)])
def test_strided_head_of_any_size_rounds_up(stem, stride, size):
    options = {"widths": (8, 8), "depth": 1, "stride": stem}
    net = build_model("reversible_unet", options, heads={"centres": Head(5, stride)})
    outputs = net(torch.rand(2, 1, *size))
    assert outputs["logits"].shape == (2, 1, *size)
    assert outputs["centres"].shape == (2, 5, *(-(-n // stride) for n in size))


def test_strided_head_gives_its_parameters_and_the_stem_gradients():
    net = build_model("reversible_unet", SMALL, heads={"centres": Head(5, 2)}, logits=False)
    net(torch.rand(1, 1, 16, 16, 16))["centres"].square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.heads.parameters())
    assert net.backbone.stem.weight.grad.abs().sum() > 0


def test_footprint_of_a_strided_head_reaches_as_far_as_it_says():
    torch.manual_seed(0)
    options = {"widths": (4,), "depth": 1, "padding": "replicate"}
    net = build_model("reversible_unet", options, heads={"centres": Head(1, 4)}, logits=False)
    footprint = net.footprint
    assert footprint.multiple % 4 == 0
    image = torch.rand(1, 1, 64, 8, 8)
    changed = image.clone()
    changed[:, :, 40:] += 1
    with torch.no_grad():
        difference = (net.eval()(image)["centres"] - net(changed)["centres"]).abs()
    reached = difference[0, 0].amax((1, 2)).nonzero()[0].item() * 4
    assert 0 < 40 - reached <= footprint.halo + 3  # the far voxel of a patch sees furthest


@pytest.mark.parametrize("name", ["segresnet", "dynunet"])
def test_head_that_a_network_does_not_offer_is_refused_with_the_reason(name):
    with pytest.raises(UserError, match="choose another model"):
        build_model(name, {}, heads={"centres": Head(5, 2)})


def test_head_of_a_stride_that_the_networks_does_not_divide_is_refused():
    options = {"widths": (8, 8), "depth": 1, "stride": 2}
    with pytest.raises(UserError, match="multiple of stride 2"):
        build_model("reversible_unet", options, heads={"centres": Head(5, 3)})
