from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from semilung.inference import foreground_probability, predict_probability
from semilung.types import UserError


class Bright(nn.Module):
    """Logit 20 * (brightness - 0.5), voxel by voxel; `channels` of them."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        assert not self.training
        self.seen.append(tuple(x.shape))
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
def test_a_local_model_is_blind_to_the_windows(shape, overlap):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for model in (Bright(1), Bright(2)):
        found = predict_probability(model, image, window=(6, 8, 5), overlap=overlap, batch_size=3)
        assert found.shape == image.shape
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, torch.sigmoid(20 * (image - 0.5)), atol=1e-5, rtol=0)
        assert {seen[1:] for seen in model.seen} == {(1, 6, 8, 5)}
        assert max(seen[0] for seen in model.seen) <= 3


def test_one_sure_window_cannot_outvote_its_neighbours():
    # Of the windows over a voxel at most one is sure; the logit 1000 would carry every blend.
    found = predict_probability(InCorner(), torch.zeros(16, 8, 8), window=(8, 8, 8), overlap=0.5)
    assert found[0].min() == 1  # seen by one window alone
    assert found[4, 4, 4] < 0.6  # the rim of the second window, the middle of the first
    assert found.min() >= 0
    assert found.max() <= 1


def test_probabilities_of_several_models_are_averaged():
    image = torch.rand(5, 6, 7)
    models = [Constant(0.1), Constant(0.9), Constant(0.2)]
    found = predict_probability(models, image, window=(4, 4, 4))
    torch.testing.assert_close(found, torch.full((5, 6, 7), 0.4))


def test_modes_come_back_one_by_one_even_after_an_error():
    model = nn.Sequential(nn.BatchNorm3d(1), nn.Dropout())
    model.train()
    model[0].eval()
    with pytest.raises(ValueError, match="overlap"):
        predict_probability(model, torch.rand(4, 4, 4), window=(4, 4, 4), overlap=1.0)
    assert [m.training for m in model.modules()] == [True, False, True]


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="image"):
        predict_probability(Bright(), torch.rand(1, 4, 4, 4), window=(4, 4, 4))
    with pytest.raises(ValueError, match="0 models"):
        predict_probability([], torch.rand(4, 4, 4), window=(4, 4, 4))


def test_a_diverged_model_is_not_taken_for_a_silent_one():
    with pytest.raises(UserError, match="not finite"):
        predict_probability(Constant(float("nan")), torch.rand(4, 4, 4), window=(4, 4, 4))


def test_a_heads_own_map_is_blended_alike():
    class TwoHeads(Bright):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {**super().forward(x), "anomaly": 4 * x}

    image = torch.rand(9, 8, 7, generator=torch.Generator().manual_seed(0))
    found = predict_probability(TwoHeads(), image, window=(6, 6, 6), head="anomaly")
    torch.testing.assert_close(found, torch.sigmoid(4 * image), atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="no head 'other', it has logits, anomaly"):
        predict_probability(TwoHeads(), image, window=(6, 6, 6), head="other")
