from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from semilung.models import ReversibleUNet3d, build_model


def unet(**options: Any) -> ReversibleUNet3d:
    torch.manual_seed(0)
    return ReversibleUNet3d(1, 1, **{"widths": (4, 8, 8), "depth": 1} | options)


def image(*size: int) -> Tensor:
    return torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("training", [True, False])
def test_any_size(training: bool) -> None:
    net = ReversibleUNet3d(2, 3, widths=(4, 4, 4, 4), depth=1).train(training)
    x = torch.randn(1, 2, 33, 40, 51)
    assert net(x).shape == (1, 3, 33, 40, 51)
    assert net.features(x).shape == (1, 4, 33, 40, 51)


@settings(max_examples=15, deadline=None)
@given(size=st.tuples(*[st.integers(1, 11)] * 3), levels=st.integers(1, 3))
def test_size_is_kept_and_a_multiple_is_not_padded(size: tuple[int, ...], levels: int) -> None:
    net = unet(widths=(4, 6, 8)[:levels]).eval()
    x = image(*size)
    with torch.no_grad():
        y = net.features(x)
        far_ends = [n for s in reversed(size) for n in (0, -s % 2 ** (levels - 1))]
        padded = net.features(torch.nn.functional.pad(x, far_ends, mode="replicate"))
    assert y.shape[2:] == size
    assert torch.equal(y, padded[..., : size[0], : size[1], : size[2]])


def test_axes_are_not_mixed_up() -> None:
    """A point moves the logits as far as its receptive field reaches on each axis, no farther.

    One level, one coupling: the stem reaches 1 voxel, the stage 2, for G reads what F has made.
    """
    net = unet(widths=(4,), depth=1, dropout=0.0).eval()
    x = torch.zeros(1, 1, 15, 17, 19)
    point = x.clone()
    point[0, 0, 6, 9, 8] = 1.0
    with torch.no_grad():
        change = (net(point) - net(x)).abs().sum((0, 1))
    assert change.nonzero().amin(0).tolist() == [3, 6, 5]
    assert change.nonzero().amax(0).tolist() == [9, 12, 11]


def test_double_precision_stays_double_in_small_volumes() -> None:
    net = unet().double()
    assert net(image(8, 8, 8).double()).dtype == torch.float64


def test_logits_are_head_of_features() -> None:
    net, x = unet().eval(), image(8, 8, 8)
    assert torch.equal(net(x), net.head(net.features(x)))


def test_prior_is_the_first_prediction() -> None:
    probs = unet(prior=0.05)(image(8, 8, 8)).sigmoid()
    assert 0.01 < probs.mean() < 0.2
    assert unet(prior=0.05).head[-1].bias.sigmoid().item() == pytest.approx(0.05)


def test_can_predict_an_empty_volume() -> None:
    """Nothing normalises the logits of a sample: the bias moves them all, whatever the image."""
    net = unet().eval()
    images = [image(8, 8, 8), 5 * image(8, 8, 8), torch.zeros(1, 1, 8, 8, 8)]
    with torch.no_grad():
        before = [net(x) for x in images]
        net.head[-1].bias.sub_(50.0)
        for x, logits in zip(images, before, strict=True):
            torch.testing.assert_close(net(x), logits - 50.0)
            assert net(x).sigmoid().max() < 1e-3


def test_unet_learns_a_nodule_and_an_empty_volume() -> None:
    net = unet()
    empty, nodule, mask = image(8, 8, 8) / 4, image(8, 8, 8) / 4, torch.zeros(1, 1, 8, 8, 8)
    mask[..., 3:5, 3:5, 3:5] = 1.0
    nodule = nodule + 3 * mask
    x, y = torch.cat((empty, nodule)), torch.cat((torch.zeros_like(mask), mask))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        assert torch.equal(net(x) > 0, y > 0)


@pytest.mark.parametrize(
    ("conv", "padding"), [("full", "zeros"), ("separable", "zeros"), ("full", "replicate")]
)
@pytest.mark.parametrize("backend", ["checkpoint", "memcnn", "plain"])
def test_backends_agree(backend: str, conv: str, padding: str) -> None:
    def step(name: str) -> tuple[Tensor, list[Tensor]]:
        net = unet(backend=name, conv=conv, padding=padding, depth=2)
        logits = net(image(9, 8, 10))
        logits.square().sum().backward()
        return logits, [p.grad for p in net.parameters()]

    (got, got_grads), (expected, expected_grads) = step(backend), step("fused")
    torch.testing.assert_close(got, expected)
    scale = max(float(grad.norm()) for grad in expected_grads)
    for a, b in zip(got_grads, expected_grads, strict=True):
        assert float((a - b).norm()) <= 1e-4 * max(float(b.norm()), 1e-3 * scale)


def test_dropout_is_off_in_evaluation_and_keeps_the_state() -> None:
    net, x = unet(dropout=0.5), image(8, 8, 8)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    assert list(net.state_dict()) == list(unet().state_dict())


def test_stages_start_near_the_identity() -> None:
    x = torch.randn(1, 16, 8, 8, 8)
    stage = ReversibleUNet3d(widths=(16, 32), depth=8).encoder[0]
    with torch.no_grad():
        y = stage(x)
        assert 0.05 < (y - x).norm() / x.norm() < 0.7  # branches of gain 1 move it by 2.4
        assert (stage.inverse(y) - x).norm() / x.norm() < 3e-7


def test_channels_last_gives_the_same() -> None:
    layout = torch.channels_last_3d
    net, last = unet(depth=2), unet(depth=2).to(memory_format=layout)
    x = image(8, 8, 8).expand(2, -1, -1, -1, -1)
    expected, got = net(x), last(x.contiguous(memory_format=layout))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    got.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(last.stem.weight.grad, net.stem.weight.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bf16", [False, True])
def test_gradients_of_fused_equal_plain_also_under_autocast(bf16: bool) -> None:
    def gradient(backend: str) -> Tensor:
        net, x = unet(widths=(8, 16), depth=2, backend=backend, dropout=0.2), image(8, 12, 8)
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            net(x).square().mean().backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    got, expected = gradient("fused"), gradient("plain")
    assert (got - expected).norm() <= (2e-3 if bf16 else 1e-4) * expected.norm()


@pytest.mark.parametrize("backend", ["fused", "plain"])
def test_stages_work_in_channels_last_on_the_cpu(backend: str) -> None:
    net, captured = unet(widths=(4, 8, 16), depth=1, backend=backend), []
    for stage in (*net.encoder, *net.decoder):
        stage.register_forward_hook(lambda m, args, out: captured.extend((*args, out)))
    net(image(12, 8, 16))
    assert len(captured) == 10
    assert all(t.is_contiguous(memory_format=torch.channels_last_3d) for t in captured)


@pytest.mark.parametrize("backend", ["fused", "memcnn"])
def test_export(backend: str) -> None:
    net, x = unet(backend=backend).eval(), image(8, 9, 10)
    expected = net(x)
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (4, 7)}, "even"),
        ({"widths": ()}, "even"),
        ({"depth": -1}, "depth"),
        ({"depth": (1, 1)}, "depth"),
        ({"conv": "dense"}, "conv"),
        ({"prior": 0.0}, "prior"),
        ({"prior": 1.0}, "prior"),
        ({"dropout": 1.5}, "dropout"),
        ({"backend": "none"}, "backend"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unet(**options)


def test_a_level_may_go_without_a_stage() -> None:
    net = ReversibleUNet3d(1, 1, widths=(4, 8, 8), depth=(0, 2, 1))
    assert [len(stage.couplings) for stage in net.encoder] == [0, 2, 1]
    assert net(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 1, 8, 8, 8)


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 7, 11)])
def test_a_strided_stem_keeps_the_size_and_sees_every_voxel(size: tuple[int, ...]) -> None:
    net = ReversibleUNet3d(1, 1, widths=(8, 8), depth=1, stride=2)
    x = torch.rand(1, 1, *size, requires_grad=True)
    logits = net(x)
    assert logits.shape == x.shape
    (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    assert (gradient != 0).all()
    with pytest.raises(ValueError, match="stride"):
        ReversibleUNet3d(1, 1, stride=3)


@pytest.mark.parametrize(
    ("name", "size"), [("reversible_unet", (8, 8, 8)), ("reversible_unet", (2, 32, 32)),
                       ("segresnet", (16, 16, 16)), ("dynunet", (16, 16, 16))]
)  # fmt: skip
def test_bfloat16_gradients_are_right_where_a_level_is_two_voxels_wide(name, size) -> None:
    """A bug in torch that does not always occur, so it is tried several times."""
    torch.manual_seed(0)
    options = {"widths": (8, 16, 32)[: 2 if min(size) < 3 else 3], "depth": 1}
    net = build_model(name, options if name == "reversible_unet" else {}).eval()
    x = torch.rand(2, 1, *size)
    cubic = [
        m.weight
        for m in net.modules()
        if isinstance(m, nn.Conv3d) and m.kernel_size == (3, 3, 3) and m.weight.requires_grad
    ]
    exact = torch.autograd.grad(net(x)["logits"].square().sum(), cubic)
    for _ in range(10):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = net(x)["logits"].square().sum()
        for one, other in zip(torch.autograd.grad(loss, cubic), exact, strict=True):
            assert (one - other).norm() <= 0.1 * other.norm() + 1e-3


def test_skips_carry_details_that_the_coarse_levels_lose() -> None:
    net = unet(widths=(4, 8, 16), depth=0).eval()
    with torch.no_grad():
        for up in net.up:
            for p in up.parameters():
                p.zero_()
        image_a, image_b = image(8, 8, 8), image(8, 8, 8) + 1.0
        assert not torch.allclose(net(image_a), net(image_b))


def test_the_way_up_is_linear_between_voxels() -> None:
    """A ramp stays a ramp, where repeated voxels would make stairs."""
    net = unet(widths=(2, 4), depth=0).eval()
    net.stem.weight.data.zero_()
    net.stem.bias.data.zero_()  # nothing comes by the skip
    captured: list[Tensor] = []
    net.up[0].register_forward_hook(
        lambda m, a, out: torch.arange(8.0).view(1, 1, 8, 1, 1).expand_as(out)
    )
    net.head.register_forward_pre_hook(lambda m, args: captured.append(args[0]))
    with torch.no_grad():
        net(image(16, 16, 16))
    steps = captured[0][0, 0, 1:-1, 5, 5].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 0.5))


def test_dropout_drops_whole_channels() -> None:
    net = unet(dropout=0.5)
    layers = [m for m in net.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    assert layers
    for layer in layers:
        share = (layer.train()(torch.ones(1, 64, 4, 4, 4)) == 0).float().mean((2, 3, 4))
        assert set(share.unique().tolist()) == {0.0, 1.0}


def test_a_logit_depends_on_its_surroundings_alone() -> None:
    """What else a window holds leaves it as it is; statistics of a sample would not."""
    net = unet(depth=1).eval()
    one = image(64, 8, 8)
    other = one.clone()
    other[:, :, 48:] += 3.0
    with torch.no_grad():
        a, b = net(one), net(other)
    assert torch.equal(a[:, :, :16], b[:, :, :16])
    assert not torch.equal(a[:, :, 48:], b[:, :, 48:])


@pytest.mark.parametrize("stride", [1, 2])
def test_replicate_padding_border_of_a_constant_image_is_like_its_interior(stride: int) -> None:
    """With zeros, a network sees where its input ends."""

    def spread(padding: str) -> float:
        net = unet(padding=padding, stride=stride, widths=(8, 8)).double().eval()
        with torch.no_grad():
            logits = net(torch.full((1, 1, 24, 24, 24), 0.7, dtype=torch.double))
        by_patch = logits.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).flatten(5)
        return float((by_patch.amax((2, 3, 4)) - by_patch.amin((2, 3, 4))).max())

    assert spread("replicate") < 1e-9
    assert spread("zeros") > 1e-3


def test_prediction_without_gradients_equals_the_forward_pass_of_training() -> None:
    net, x = unet(depth=2).eval(), image(9, 8, 10)
    before = x.clone()
    with torch.no_grad():
        predicted = net(x)
    assert torch.equal(x, before)
    assert torch.equal(predicted, net(x))
    assert torch.equal(predicted, net.train()(x))
