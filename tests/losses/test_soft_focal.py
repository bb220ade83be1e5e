"""Focal loss of soft targets: the published formula, hard targets, gradients, extremes."""

import math

import pytest
import torch
from loss_inputs import random_logits
from torch.autograd import gradcheck

from semilung.losses import heatmap_focal_loss, soft_focal_loss

LN2 = math.log(2)


def random_target(seed=0, *, hard=False, size=(4, 3, 5), batch=2):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand((batch, 1, *size), generator=generator, dtype=torch.float64)
    return (target > 0.8).double() if hard else target


def test_soft_focal_loss_by_hand():
    # p = 1/2 against y = 1, 1/4 and 0; the cross-entropy is ln 2 of each
    logits, target = torch.zeros(1, 1, 3), torch.tensor([[[1.0, 0.25, 0.0]]])
    loss = soft_focal_loss(logits, target, alpha=0.8, gamma=2)
    expected = 0.8 / 4 + (0.2 + 0.25 * 0.6) / 16 + 0.2 / 4
    assert loss.item() == pytest.approx(expected * LN2 / 1.25)


def test_soft_focal_loss_of_hard_targets_is_the_focal_loss():
    logits, target = random_logits(1), random_target(hard=True)
    p = logits.sigmoid()
    positive = -0.9 * (1 - p) ** 3 * p.log() * target
    negative = -0.1 * p**3 * (1 - p).log() * (1 - target)
    count = target.flatten(1).sum(dim=1)
    expected = ((positive + negative).flatten(1).sum(dim=1) / count).mean()
    torch.testing.assert_close(soft_focal_loss(logits, target, alpha=0.9, gamma=3), expected)
    # with equal weights it is half of that of centre heatmaps
    half = soft_focal_loss(logits, target, alpha=0.5)
    torch.testing.assert_close(2 * half, heatmap_focal_loss(logits, target))


@pytest.mark.parametrize("y", [0.1, 0.5, 0.9])
def test_soft_focal_loss_is_least_at_the_target(y):
    grid = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    values = [
        soft_focal_loss(torch.logit(p).view(1, 1, 1), torch.full((1, 1, 1), y).double())
        for p in grid
    ]
    assert grid[torch.stack(values).argmin()].item() == pytest.approx(y)
    assert min(values) == pytest.approx(0, abs=1e-12)


def test_soft_focal_loss_gamma_zero_is_the_cross_entropy():
    logits, target = random_logits(1), random_target() / 100
    loss = soft_focal_loss(logits, target, alpha=0.5, gamma=0)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    assert loss.item() == pytest.approx(entropy.item() / 2 / 2)


def test_soft_focal_loss_is_a_mean_over_samples_each_per_positive():
    target = torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]]])
    loss = soft_focal_loss(torch.zeros(2, 1, 2), target, alpha=0.6)
    # 2 positives of 0.6 / 4 ln 2 each, divided by 2; 2 negatives of 0.4 / 4 ln 2, by 1
    assert loss.item() == pytest.approx((0.6 / 4 + 2 * 0.4 / 4) / 2 * LN2)


def test_soft_focal_loss_ignored_voxels_are_as_if_cut_out():
    logits, target = random_logits(1, size=(60,)), random_target(size=(60,))
    weight = torch.ones(2, 1, 60, dtype=torch.float64)
    weight[..., ::3] = 0
    valid = weight[0, 0] > 0
    loss = soft_focal_loss(logits, target, weight=weight)
    torch.testing.assert_close(loss, soft_focal_loss(logits[..., valid], target[..., valid]))


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_soft_focal_loss_gradcheck(gamma):
    logits = random_logits(1, size=(2, 2, 3)).requires_grad_()
    target, weight = random_target(size=(2, 2, 3)), random_target(3, size=(2, 2, 3))
    assert gradcheck(lambda x: soft_focal_loss(x, target, weight=weight, gamma=gamma), (logits,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("value", [-1e4, 0, 1e4])
def test_soft_focal_loss_extreme_logits_are_finite(dtype, value):
    target = torch.tensor([[[1.0, 0.5, 0.0]]], dtype=dtype)
    logits = torch.full((1, 1, 3), value, dtype=dtype, requires_grad=True)
    loss = soft_focal_loss(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert value == 0 or gradient[..., 0 if value < 0 else 2] != 0


def test_soft_focal_loss_errors_say_what_does_not_match():
    zeros = torch.zeros(1, 1, 4)
    with pytest.raises(ValueError, match=r"target .* does not match logits"):
        soft_focal_loss(zeros, torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"weight .* does not match logits"):
        soft_focal_loss(zeros, zeros, weight=torch.zeros(1, 4))
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"values outside \[0, 1\]"):
            soft_focal_loss(zeros, zeros + value)
    for options in ({"alpha": 1.1}, {"gamma": 0.5}, {"gamma": -1}):
        with pytest.raises(ValueError, match="alpha must be in"):
            soft_focal_loss(zeros, zeros, **options)
