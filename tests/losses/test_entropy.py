"""Entropy of a voxel and of a prediction: values, gradients at the very ends, masks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_inputs import extremes, gradient, random_logits, random_mask
from torch.autograd import gradcheck

from semilung.losses import entropy_loss, probabilities, voxel_entropy


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_uniform_is_one_for_any_number_of_classes(classes):
    probs = torch.full((1, classes, 2, 2), 1 / classes)
    torch.testing.assert_close(voxel_entropy(probs), torch.ones(1, 1, 2, 2))


def test_one_channel_divides_by_ln_two():
    # H(0.25) = -(0.25 log2 0.25 + 0.75 log2 0.75) = 0.8113 bits
    assert voxel_entropy(torch.full((1, 1, 1, 1), 0.25)).item() == pytest.approx(0.8112781)


def test_certainty_is_zero():
    assert voxel_entropy(torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)).abs().sum() == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_is_the_entropy_of_torch(channels):
    probs = probabilities(random_logits(channels))
    full = torch.cat([1 - probs, probs], dim=1) if channels == 1 else probs
    expected = torch.special.entr(full).sum(1, keepdim=True) / math.log(full.shape[1])
    torch.testing.assert_close(voxel_entropy(probs), expected)


def test_golden_with_mask():
    # 1 bit and 0.8113 bits in the first sample, 0 in the second.
    probs = torch.tensor([[0.5, 0.25], [1, 0]]).view(2, 1, 2, 1)
    assert entropy_loss(probs).item() == pytest.approx((0.9056391 + 0) / 2)
    mask = torch.tensor([[True, False], [True, True]]).view(2, 1, 2, 1)
    assert entropy_loss(probs, mask=mask).item() == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_gradient_is_finite_at_zero_and_one(dtype, channels):
    share = torch.zeros(1, channels, 2, 2, dtype=dtype)
    share[:, 0] = 1
    for probs in (share, 1 - share if channels == 1 else share.flip(1)):
        probs.requires_grad_()
        assert gradient(entropy_loss(probs), probs).isfinite().all()


def test_gradient_at_zero_still_points_to_zero():
    probs = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1).requires_grad_()
    at_zero, at_one = gradient(entropy_loss(probs), probs).flatten()
    assert at_zero > 1
    assert at_one < -1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_extreme_logits(dtype, channels):
    logits = extremes(dtype, channels).requires_grad_()
    loss = entropy_loss(probabilities(logits))
    assert loss.isfinite()
    assert gradient(loss, logits).isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_gradcheck(channels):
    logits = random_logits(channels, size=(2, 3)).requires_grad_()
    mask = random_mask(size=(2, 3))
    assert gradcheck(lambda x: entropy_loss(probabilities(x), mask=mask), (logits,))


@given(st.integers(0, 50), st.sampled_from([1, 2, 4]), st.sampled_from([(3, 4), (2, 3, 4)]))
@settings(max_examples=25, deadline=None)
def test_mask_is_dropping_and_batch_is_mean_of_singles(seed, channels, size):
    probs = probabilities(random_logits(channels, seed, size=size))
    mask = random_mask(seed, size=size)
    mask[:, :, 0, 0] = True
    means = [voxel_entropy(probs[b : b + 1])[mask[b : b + 1]].mean() for b in range(2)]
    loss = entropy_loss(probs, mask=mask)
    torch.testing.assert_close(loss, torch.stack(means).mean())
    assert 0 <= loss <= 1


def test_nothing_in_the_mask_is_zero_with_gradient_zero():
    probs = probabilities(random_logits(2)).requires_grad_()
    loss = entropy_loss(probs, mask=torch.zeros(2, 1, 4, 3, 5, dtype=torch.bool))
    assert loss.item() == 0
    assert gradient(loss, probs).abs().sum() == 0


def test_refuses_a_mask_that_does_not_fit():
    with pytest.raises(ValueError, match="does not match"):
        entropy_loss(torch.zeros(2, 1, 4, 4), mask=torch.zeros(2, 4, 4, dtype=torch.bool))
