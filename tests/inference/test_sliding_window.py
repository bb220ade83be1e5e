from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from semilung.inference import foreground_probability, predict_probability
from semilung.types import UserError


class Bright(nn.Module):
    """Logit 20 * (brightness - 0.5), voxel by voxel; `channels` of them."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        assert not self.training
        self.shapes.append(tuple(x.shape))
        logit = 20 * (x - 0.5)
        if self.channels == 1:
            return {"logits": logit}
        others = [torch.zeros_like(x)] * (self.channels - 1)
        return {"logits": torch.cat([*others, logit], 1)}


class Constant(nn.Module):
    def __init__(self, probability: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.logit(torch.tensor(probability)))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": torch.zeros_like(x) + self.logit}


class InCorner(nn.Module):
    """Sure of a nodule in the first window voxel, unsure elsewhere: window-dependent output."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = torch.zeros_like(x)
        logits[:, :, 0] = 1000.0
        return {"logits": logits}


def test_one_channel_is_a_sigmoid_and_more_are_a_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 3, 1, 1, 1)
    e = torch.tensor([0.0, 1.0, 2.0]).exp()
    assert foreground_probability(logits).item() == pytest.approx(((e[1] + e[2]) / e.sum()).item())
    assert foreground_probability(logits[:, 2:]).item() == pytest.approx(0.880797)


@given(st.tuples(*[st.integers(1, 14)] * 3), st.sampled_from([0.0, 0.25, 0.5]))
@settings(max_examples=25, deadline=None)
def test_predict_probability_of_a_local_model_does_not_depend_on_windows(shape, overlap):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for model in (Bright(1), Bright(2)):
        result = predict_probability(model, image, window=(6, 8, 5), overlap=overlap, batch_size=3)
        assert result.shape == image.shape
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, torch.sigmoid(20 * (image - 0.5)), atol=1e-5, rtol=0)
        assert {shape[1:] for shape in model.shapes} == {(1, 6, 8, 5)}
        assert max(shape[0] for shape in model.shapes) <= 3


def test_one_confident_window_cannot_outweigh_its_neighbours():
    # Of the windows over a voxel at most one is sure; the logit 1000 would carry every blend.
    result = predict_probability(InCorner(), torch.zeros(16, 8, 8), window=(8, 8, 8), overlap=0.5)
    assert result[0].min() == 1  # dtypes by one window alone
    assert result[4, 4, 4] < 0.6  # the rim of the second window, the middle of the first
    assert result.min() >= 0
    assert result.max() <= 1


def test_probabilities_of_several_models_are_averaged():
    image = torch.rand(5, 6, 7)
    models = [Constant(0.1), Constant(0.9), Constant(0.2)]
    result = predict_probability(models, image, window=(4, 4, 4))
    torch.testing.assert_close(result, torch.full((5, 6, 7), 0.4))


class Net(nn.Module):
    """A small net whose answer depends on the window, through its padding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv3d(4, 1, 5, padding=2)
        )
        self.windows = 0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.windows += len(x)
        return {"logits": 4 * self.layers(x)}


def by_monai(net: nn.Module, image: Tensor, window: tuple[int, ...], overlap: float) -> Tensor:
    inferer = SlidingWindowInferer(window, 3, overlap, mode="gaussian")
    with torch.no_grad():
        return inferer(image[None, None], lambda x: net(x)["logits"].sigmoid())[0, 0]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("shape", [(30, 21, 17), (16, 16, 12)])
def test_it_equals_monais_inferer(shape, overlap):
    image, net = torch.rand(shape, generator=torch.Generator().manual_seed(1)), Net().eval()
    result = predict_probability(net, image, window=(16, 12, 10), overlap=overlap, batch_size=3)
    expected = by_monai(net, image, (16, 12, 10), overlap)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_windows_without_lung_are_skipped_and_within_the_lungs_nothing_changes():
    image, net = torch.rand(48, 40, 32, generator=torch.Generator().manual_seed(1)), Net().eval()
    blocks = np.zeros((6, 5, 4), bool)
    blocks[0:2, 1:3, 1:4] = True
    options = {"window": (16, 16, 16), "overlap": 0.5}
    result = predict_probability(net, image, lungs=blocks, **options)
    looked, net.windows = net.windows, 0
    expected = by_monai(net, image, *options.values())
    assert looked < net.windows / 2
    inside = torch.from_numpy(blocks.repeat(8, 0).repeat(8, 1).repeat(8, 2))
    torch.testing.assert_close(result[inside], expected[inside], atol=1e-6, rtol=0)
    assert (result[32:] == 0).all()  # no window that touches a lung reaches so far
    assert (result[:32] > 0).any()


def test_without_any_lung_no_window_is_skipped():
    image, net = torch.rand(20, 16, 16), Net().eval()
    whole = predict_probability(net, image, window=(8, 8, 8))
    none = np.zeros((3, 2, 2), bool)
    assert torch.equal(predict_probability(net, image, window=(8, 8, 8), lungs=none), whole)


def test_lungs_of_a_volume_that_is_smaller_than_the_window():
    image, net = torch.rand(40, 6, 16), Net().eval()
    blocks = np.zeros((5, 1, 2), bool)
    blocks[0, 0, 1] = True
    result = predict_probability(net, image, window=(8, 16, 8), lungs=blocks)
    whole = predict_probability(net, image, window=(8, 16, 8))
    torch.testing.assert_close(result[:8, :, 8:], whole[:8, :, 8:])
    assert (result[16:] == 0).all()


def peak_bytes(work: Callable[[], Tensor]) -> int:
    """Peak of what torch and numpy allocate during `work`, less its result."""
    tracemalloc.start()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        result = work()
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    events = [e for e in trace.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return max(accumulate(sizes)) + arrays - result.numel() * result.element_size()


def test_memory_grows_with_the_windows_and_not_with_the_volume():
    def peak(edge: int, batch_size: int) -> int:
        hu = torch.full((edge, 64, 64), -700, dtype=torch.int16)
        options = {"window": (32, 32, 32), "overlap": 0.25, "batch_size": batch_size}
        return peak_bytes(
            lambda: predict_probability(Constant(0.2), hu, window_hu=(-1000, 400), **options)
        )

    peak(32, 1)  # what is imported and kept
    small, large, batch = peak(64, 2), peak(256, 2), peak(256, 8)
    volume = 4 * 192 * 64 * 64  # bytes by which the large one is larger
    assert large - small < 0.1 * volume
    assert batch > 2 * large


def test_modes_of_submodules_are_restored_even_after_an_error():
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm3d(1).eval(), nn.Dropout()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            assert not any(module.training for module in self.modules())
            return {"logits": self.drop(self.norm(x))}

    model = Moody()
    modes = [True, False, True]
    assert [m.training for m in model.modules()] == modes
    predict_probability(model, torch.rand(4, 4, 4), window=(4, 4, 4))
    assert [m.training for m in model.modules()] == modes
    with pytest.raises(UserError, match="no head"):
        predict_probability(model, torch.rand(4, 4, 4), window=(4, 4, 4), head="none")
    assert [m.training for m in model.modules()] == modes


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="image"):
        predict_probability(Bright(), torch.rand(1, 4, 4, 4), window=(4, 4, 4))
    with pytest.raises(ValueError, match="0 models"):
        predict_probability([], torch.rand(4, 4, 4), window=(4, 4, 4))


@pytest.mark.parametrize("logit", ["nan", "inf", "-inf"])
def test_output_that_is_not_finite_raises(logit):
    with pytest.raises(UserError, match="not finite"):
        predict_probability(Constant(float(logit)), torch.rand(4, 4, 4), window=(4, 4, 4))


def test_a_heads_own_map_is_blended_alike():
    class TwoHeads(Bright):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {**super().forward(x), "anomaly": 4 * x}

    image = torch.rand(9, 8, 7, generator=torch.Generator().manual_seed(0))
    result = predict_probability(TwoHeads(), image, window=(6, 6, 6), head="anomaly")
    torch.testing.assert_close(result, torch.sigmoid(4 * image), atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="no head 'other', it has logits, anomaly"):
        predict_probability(TwoHeads(), image, window=(6, 6, 6), head="other")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)]
)
def test_half_precision_is_that_of_the_net_alone(precision, dtype):
    dtypes = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv3d(1, 1, 3, padding=1)

        def forward(self, x):
            dtypes.append(self.conv(x).dtype)
            return {"logits": self.conv(x)}

    image, net = torch.rand(9, 8, 7), Spy()
    result = predict_probability(net, image, window=(4, 4, 4), precision=precision)
    assert set(dtypes) == {dtype}
    assert result.dtype == torch.float32
    full = predict_probability(net, image, window=(4, 4, 4))
    assert torch.allclose(result, full, atol=0 if dtype == torch.float32 else 5e-3)
