"""Footprint of networks: how far an output reaches, and the memory of a prediction."""

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from semilung.models import build_model, common_footprint
from semilung.strategies import EMATeacher

NETS = [
    {"widths": (8, 16), "depth": 1},
    {"widths": (4, 8, 8), "depth": (1, 2, 1)},
    {"widths": (8, 8), "depth": (2, 0), "stride": 2, "padding": "replicate"},
    {"widths": (8,), "depth": 3, "conv": "separable"},
]


@pytest.mark.parametrize("options", NETS, ids=str)
def test_halo_no_voxel_beyond_it_has_an_effect(options):
    torch.manual_seed(0)
    net = build_model("reversible_unet", options).double().eval()
    for parameter in net.parameters():
        parameter.data.mul_(3)
    halo, multiple = net.footprint.halo, net.footprint.multiple
    length = 2 * (halo + multiple) + multiple
    for at in range(length // 2, length // 2 + multiple):
        image = torch.rand(1, 1, 3, 3, length, dtype=torch.float64)
        changed = image.clone()
        changed[..., at] += 1
        with torch.no_grad():
            difference = (net(changed)["logits"] - net(image)["logits"]).abs().amax((0, 1, 2, 3))
        reach = (difference.nonzero().flatten() - at).abs().max()
        assert halo / 2 <= reach <= halo


@pytest.mark.parametrize(
    "options", [NETS[0], NETS[2], {"widths": (8, 16), "padding": "replicate"}], ids=str
)
def test_bytes_per_voxel_bound_the_peak_of_a_pass(options):
    net = build_model("reversible_unet", options).eval()
    image = torch.rand(1, 1, 72, 72, 72)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        net(image)
    live = peak = 0
    events = [e for e in trace.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    bound = net.footprint.bytes_per_voxel * image.numel()
    assert bound / 2 < peak <= bound


def test_segmenter_with_heads_counts_their_outputs():
    plain = build_model("reversible_unet", NETS[0]).footprint
    with_heads = build_model("reversible_unet", NETS[0], heads={"anatomy": 4}).footprint
    assert with_heads.bytes_per_voxel == plain.bytes_per_voxel + 16
    assert with_heads.halo == plain.halo


def test_common_footprint_of_networks_holds_for_all():
    nets = [build_model("reversible_unet", options) for options in NETS[:3]]
    common = common_footprint(nets)
    assert common.multiple == 4
    assert common.halo == max(net.footprint.halo for net in nets)
    assert common_footprint([*nets, nn.Identity()]) is None
    assert common_footprint([build_model("dynunet", {"filters": [8, 16, 16]})]) is None
    assert common_footprint([EMATeacher(nets[0])]) == nets[0].footprint
