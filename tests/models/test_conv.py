from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from semilung.models.conv import Conv3d

LAYOUTS = (torch.contiguous_format, torch.channels_last_3d)


def step(convolve: type[nn.Conv3d], conv: nn.Conv3d, x: Tensor) -> list[Tensor]:
    """Output and gradients of `conv` where it runs as `convolve` does."""
    x = x.detach().requires_grad_()
    y = convolve.forward(conv, x)
    loss = (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum()
    return [y, *torch.autograd.grad(loss, [x, *conv.parameters()])]


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 9)] * 3),
    kernel=st.sampled_from([1, 3]),
    batch=st.integers(1, 2),
    bias=st.booleans(),
    padding_mode=st.sampled_from(["zeros", "replicate"]),
    layout=st.sampled_from(LAYOUTS),
)
def test_equals_torchs_own(
    size: tuple[int, ...],
    kernel: int,
    batch: int,
    bias: bool,
    padding_mode: str,
    layout: torch.memory_format,
) -> None:
    torch.manual_seed(0)
    conv = Conv3d(3, 4, kernel, padding=kernel // 2, padding_mode=padding_mode, bias=bias)
    x = torch.randn(batch, 3, *size).contiguous(memory_format=layout)
    for got, expected in zip(step(Conv3d, conv, x), step(nn.Conv3d, conv, x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1},
        {"dilation": 2, "padding": 1},
        {"padding": 0},
        {"padding": "same"},
        {"padding": 1, "groups": 2},
    ],
)
def test_other_geometries_are_left_to_torch(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    conv, x = Conv3d(4, 4, 3, **options), torch.randn(1, 4, 8, 7, 6)
    assert torch.equal(conv(x), nn.Conv3d.forward(conv, x))


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
def test_a_small_volume_is_not_unfolded(padding_mode: str) -> None:
    """Unfolded, the input of a 3x3x3 kernel takes 27 times its memory."""
    conv = Conv3d(8, 8, 3, padding=1, padding_mode=padding_mode)
    x = torch.randn(1, 8, 16, 16, 16)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
        conv(x).sum().backward()
    names = {event.key for event in trace.key_averages()}
    assert "aten::mkldnn_convolution" in names or not torch.backends.mkldnn.is_available()
    assert not torch.backends.mkldnn.is_available() or "aten::slow_conv3d_forward" not in names


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pointwise_kernel_keeps_the_layout(layout: torch.memory_format) -> None:
    x = torch.randn(1, 8, 6, 5, 4).contiguous(memory_format=layout)
    assert Conv3d(8, 3, 1)(x).is_contiguous(memory_format=layout)


def test_differentiable_twice() -> None:
    x = torch.randn(1, 2, 6, 4, 4, dtype=torch.double, requires_grad=True)
    for kernel in (1, 3):
        conv = Conv3d(2, 2, kernel, padding=kernel // 2).double()
        torch.autograd.gradgradcheck(conv, (x,))


@pytest.mark.parametrize("batch", [1, 2])
def test_an_image_of_one_channel_is_answered_in_channels_last(batch: int) -> None:
    conv, x = Conv3d(1, 4, 3, padding=1), torch.randn(batch, 1, 8, 6, 5)
    y = conv(x)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(y, nn.Conv3d.forward(conv, x))


def test_conv_traced_with_one_small_volume_is_equal_at_another_size_and_batch():
    conv = Conv3d(2, 3, 3, padding=1).requires_grad_(False)
    traced = torch.jit.trace(conv, torch.zeros(1, 2, 8, 6, 5), check_trace=False)
    x = torch.randn(2, 2, 13, 7, 9)
    assert torch.allclose(traced(x), nn.Conv3d.forward(conv, x), atol=1e-6)
