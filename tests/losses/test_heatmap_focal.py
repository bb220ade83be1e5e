"""Focal loss of heatmaps: the published formula, hand-derived values, gradients, extremes."""

import math

import pytest
import torch
from loss_inputs import random_logits
from torch.autograd import gradcheck

from semilung.losses import heatmap_focal_loss

LN2 = math.log(2)


def random_heatmap(seed=0, channels=1, batch=2, size=(4, 3, 5)):
    generator = torch.Generator().manual_seed(seed)
    heatmap = torch.rand((batch, channels, *size), generator=generator, dtype=torch.float64)
    return torch.where(heatmap > 0.9, 1.0, heatmap)


def official(logits, heatmap):
    """The loss as CornerNet's authors compute it, over a whole batch."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    positive, negative = heatmap.eq(1), heatmap.lt(1)
    hits = torch.log(p[positive]) * (1 - p[positive]) ** 2
    others = torch.log(1 - p[negative]) * p[negative] ** 2 * (1 - heatmap[negative]) ** 4
    count = positive.sum()
    return -(hits.sum() + others.sum()) / count if count else -others.sum()


def test_heatmap_focal_loss_golden():
    # p = 1/2 in four voxels: 1/4 ln 2 at the centre and in the background, and (1 - y)^4 of it
    # at y = 1/2; one centre.
    heatmap = torch.tensor([0.0, 0.5, 1.0, 0.5]).view(1, 1, 2, 2)
    loss = heatmap_focal_loss(torch.zeros(1, 1, 2, 2), heatmap)
    assert loss.item() == pytest.approx(LN2 / 4 * (1 + 2 / 16 + 1))


def test_heatmap_focal_loss_golden_of_other_exponents():
    # p = 1/4 at the centre, 3/4 in the background at y = 1/2: (3/4)^3 ln 4 + (1/2) (3/4)^3 ln 4.
    logits = torch.tensor([-math.log(3), math.log(3)]).view(1, 1, 2)
    heatmap = torch.tensor([1.0, 0.5]).view(1, 1, 2)
    loss = heatmap_focal_loss(logits, heatmap, alpha=3, beta=1)
    assert loss.item() == pytest.approx(1.5 * 0.75**3 * math.log(4))


def test_heatmap_focal_loss_next_to_a_centre_is_no_centre():
    heatmap, logits = torch.tensor([1.0, 0.99]).view(1, 1, 2), torch.tensor([0.0, 9.0])
    loss = heatmap_focal_loss(logits.view(1, 1, 2), heatmap)
    assert loss.item() == pytest.approx(LN2 / 4, abs=1e-6)  # of one centre, at p = 1/2


@pytest.mark.parametrize("seed", range(5))
def test_heatmap_focal_loss_of_a_sample_is_that_of_the_authors(seed):
    logits, heatmap = random_logits(1, seed, batch=1), random_heatmap(seed, batch=1)
    expected = official(logits, heatmap).item()
    assert heatmap_focal_loss(logits, heatmap).item() == pytest.approx(expected)


def test_heatmap_focal_loss_is_normalised_by_the_centres_of_each_sample():
    # the same voxel at p = 1/2 twice, once with another centre, which is certain
    heatmap = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(2, 1, 2)
    logits = torch.tensor([[0.0, -50.0], [0.0, 50.0]]).view(2, 1, 2)
    loss = heatmap_focal_loss(logits, heatmap)
    assert loss.item() == pytest.approx((LN2 / 4 + LN2 / 4 / 2) / 2)


def test_heatmap_focal_loss_mean_over_samples():
    logits, heatmap = random_logits(2, batch=3), random_heatmap(channels=2, batch=3)
    single = [heatmap_focal_loss(logits[i : i + 1], heatmap[i : i + 1]) for i in range(3)]
    loss = heatmap_focal_loss(logits, heatmap)
    assert loss.item() == pytest.approx(sum(single).item() / 3)


def test_heatmap_focal_loss_of_a_healthy_sample_sums_over_its_voxels():
    logits = torch.tensor([0.0, 0.0, -50.0]).view(1, 1, 3)
    assert heatmap_focal_loss(logits, torch.zeros(1, 1, 3)).item() == pytest.approx(LN2 / 2)


def test_heatmap_focal_loss_weights_voxels():
    heatmap = torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 3)
    weight = torch.tensor([1.0, 3.0, 0.5]).view(1, 1, 3)
    loss = heatmap_focal_loss(torch.zeros(1, 1, 3), heatmap, weight=weight)
    assert loss.item() == pytest.approx(LN2 / 4 * 4.5)


def test_heatmap_focal_loss_ignored_voxels_are_as_if_cut_out():
    logits, heatmap = random_logits(1, size=(60,)), random_heatmap(size=(60,))
    weight = torch.ones(2, 1, 60)
    weight[..., ::3] = 0
    valid = weight[0, 0] > 0
    cut = heatmap_focal_loss(logits[..., valid], heatmap[..., valid])
    assert heatmap[..., ~valid].eq(1).any()  # ignored centres are not counted either
    spoilt = logits.masked_fill(weight == 0, math.nan).requires_grad_()
    target = heatmap.masked_fill(weight == 0, 7)
    loss = heatmap_focal_loss(spoilt, target, weight=weight)
    torch.testing.assert_close(loss, cut)
    loss.backward()
    assert spoilt.grad.isfinite().all()
    assert spoilt.grad[weight == 0].abs().sum() == 0


def test_heatmap_focal_loss_one_weight_serves_all_channels():
    logits, heatmap = random_logits(2), random_heatmap(channels=2)
    weight = (random_heatmap(seed=1) > 0.5).double()
    loss = heatmap_focal_loss(logits, heatmap, weight=weight)
    assert loss == heatmap_focal_loss(logits, heatmap, weight=weight.expand(-1, 2, -1, -1, -1))


def test_heatmap_focal_loss_all_ignored_is_zero_with_zero_gradient():
    logits = random_logits(1).requires_grad_()
    loss = heatmap_focal_loss(logits, random_heatmap(), weight=torch.zeros(2, 1, 4, 3, 5))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert gradient.abs().sum() == 0


def test_heatmap_focal_loss_gradcheck():
    logits = random_logits(1, size=(2, 2, 3)).requires_grad_()
    heatmap, weight = random_heatmap(size=(2, 2, 3)), random_heatmap(3, size=(2, 2, 3))
    assert gradcheck(lambda x: heatmap_focal_loss(x, heatmap, weight=weight), (logits,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_heatmap_focal_loss_extreme_logits_are_finite(dtype, value):
    heatmap = torch.tensor([1.0, 0.5, 0.0]).view(1, 1, 3)
    logits = torch.full((1, 1, 3), value, dtype=dtype, requires_grad=True)
    loss = heatmap_focal_loss(logits, heatmap.to(dtype))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert gradient[..., 0 if value < 0 else 2] != 0  # no clamp hides a certain error


def test_heatmap_focal_loss_errors_say_what_does_not_match():
    zeros = torch.zeros(1, 1, 4)
    with pytest.raises(ValueError, match=r"heatmap .* does not match logits"):
        heatmap_focal_loss(zeros, torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"weight .* does not match logits"):
        heatmap_focal_loss(zeros, zeros, weight=torch.zeros(1, 2, 4))
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"values outside \[0, 1\]"):
            heatmap_focal_loss(zeros, zeros + value)
    for option in ("alpha", "beta"):
        with pytest.raises(ValueError, match=f"{option} must be at least 0, got -1"):
            heatmap_focal_loss(zeros, zeros, **{option: -1})
