"""Cross pseudo supervision: the published loss, and gradients that do not cross."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_inputs import extremes, gradient, random_logits, random_mask
from torch.autograd import gradcheck

from semilung.losses import cross_pseudo_loss


def original(pred_1, pred_2):
    """Chen et al., CVPR 2021, equations 1 and 2: each net's CE on the other's argmax."""
    label_1, label_2 = pred_1.argmax(dim=1), pred_2.argmax(dim=1)
    return F.cross_entropy(pred_1, label_2) + F.cross_entropy(pred_2, label_1)


def test_golden():
    # a says foreground by logit 2, b background by logit -1: -ln(1 - s(2)) - ln s(-1).
    a, b = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), -1.0)
    expected = math.log1p(math.exp(2)) + math.log1p(math.exp(1))
    assert cross_pseudo_loss(a, b).item() == pytest.approx(expected)


@given(st.integers(0, 50), st.sampled_from([2, 4]), st.sampled_from([(3, 4), (2, 3, 4)]))
@settings(max_examples=25, deadline=None)
def test_is_the_published_loss_and_symmetric(seed, channels, size):
    a = random_logits(channels, seed, size=size)
    b = random_logits(channels, seed + 1, size=size)
    torch.testing.assert_close(cross_pseudo_loss(a, b), original(a, b))
    torch.testing.assert_close(cross_pseudo_loss(a, b), cross_pseudo_loss(b, a))


def test_one_channel_equals_two():
    a, b = random_logits(1), random_logits(1, seed=1)
    two = [torch.cat([torch.zeros_like(x), x], dim=1) for x in (a, b)]
    torch.testing.assert_close(cross_pseudo_loss(a, b), cross_pseudo_loss(*two))


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_do_not_cross(channels):
    a = random_logits(channels).requires_grad_()
    b = random_logits(channels, seed=1).requires_grad_()
    to_a, to_b = gradient(cross_pseudo_loss(a, b), a, b)
    # a's gradient is that of a plain cross-entropy on fixed labels: b's size does not enter.
    same_labels = (7 * b).detach()
    torch.testing.assert_close(to_a, gradient(cross_pseudo_loss(a, same_labels), a))
    assert to_b.abs().sum() > 0


def test_confident_nets_have_gradient_only_where_they_disagree():
    a = torch.tensor([30.0, -30, 30]).view(1, 1, 3, 1).requires_grad_()
    b = torch.tensor([30.0, -30, -30]).view(1, 1, 3, 1)
    assert (gradient(cross_pseudo_loss(a, b), a).flatten().abs() > 0.1).tolist() == [0, 0, 1]


def test_mask_is_dropping_and_batch_is_mean_of_singles():
    a, b, mask = random_logits(3), random_logits(3, seed=1), random_mask()
    singles = [
        cross_pseudo_loss(a[i, :, mask[i, 0]][None], b[i, :, mask[i, 0]][None]) for i in range(2)
    ]
    torch.testing.assert_close(cross_pseudo_loss(a, b, mask=mask), torch.stack(singles).mean())


def test_nothing_in_the_mask_is_zero():
    a, b = random_logits(1).requires_grad_(), random_logits(1, seed=1)
    loss = cross_pseudo_loss(a, b, mask=torch.zeros(2, 1, 4, 3, 5, dtype=torch.bool))
    assert loss.item() == 0
    assert gradient(loss, a).abs().sum() == 0


def test_gradcheck():
    a, b = random_logits(3, size=(2, 2)), random_logits(3, seed=1, size=(2, 2))
    assert gradcheck(cross_pseudo_loss, (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_extreme_logits(dtype, channels):
    a = extremes(dtype, channels).requires_grad_()
    b = extremes(dtype, channels).flip(-1).requires_grad_()
    loss = cross_pseudo_loss(a, b)
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in gradient(loss, a, b))


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="differ"):
        cross_pseudo_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2))
