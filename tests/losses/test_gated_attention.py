"""Gated attention: the published formula, padded and empty bags."""

import pytest
import torch
from loss_inputs import gradient
from torch.autograd import gradcheck

from semilung.losses import GatedAttention


def build(seed=0, features=6):
    torch.manual_seed(seed)
    return GatedAttention(features, hidden=5).double(), torch.randn(3, 4, features).double()


def original(attention, h):
    """Ilse et al., ICML 2018, equations 7 and 9, for one bag `(N, D)`."""
    scores = []
    for instance in h:
        value = torch.tanh(attention.v.weight @ instance + attention.v.bias)
        gate = torch.sigmoid(attention.u.weight @ instance + attention.u.bias)
        scores.append((attention.w.weight @ (value * gate)).exp())
    a = torch.cat(scores) / torch.cat(scores).sum()
    return a @ h, a


def test_is_the_published_pooling():
    attention, h = build()
    bag, weights = attention(h)
    for b in range(3):
        expected = original(attention, h[b])
        torch.testing.assert_close((bag[b], weights[b]), expected)


def test_mask_is_dropping():
    attention, h = build()
    mask = torch.tensor([[True] * 4, [True, False, True, False], [False] * 3 + [True]])
    bag, weights = attention(torch.where(mask[..., None], h, torch.nan), mask)
    torch.testing.assert_close(weights.sum(1), torch.ones(3).double())
    assert (weights[~mask] == 0).all()
    for b in range(3):
        alone, its_weights = attention(h[b : b + 1, mask[b]])
        torch.testing.assert_close(bag[b], alone[0])
        torch.testing.assert_close(weights[b, mask[b]], its_weights[0])


def test_an_empty_bag_is_zero_and_teaches_nothing():
    attention, h = build()
    mask = torch.tensor([[True] * 4, [False] * 4, [True] * 4])
    bag, weights = attention(h.requires_grad_(), mask)
    assert bag[1].abs().sum() == 0
    assert weights[1].abs().sum() == 0
    with torch.autograd.set_detect_anomaly(True):
        slope = gradient(bag.square().sum(), h)
    assert slope.isfinite().all()
    assert slope[1].abs().sum() == 0
    assert slope[0].abs().sum() > 0
    bag, weights = attention(h[:, :0])
    assert bag.shape == (3, 6)
    assert bag.abs().sum() == 0


def test_order_of_instances_does_not_count():
    attention, h = build()
    order = [2, 0, 3, 1]
    bag, weights = attention(h)
    turned, turned_weights = attention(h[:, order])
    torch.testing.assert_close(turned, bag)
    torch.testing.assert_close(turned_weights, weights[:, order])


def test_gradcheck():
    attention, h = build()
    mask = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    assert gradcheck(lambda x: attention(x, mask), (h.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extremes_of_half_precision(dtype):
    attention, h = build()
    large = (1e4 * torch.sign(h)).to(dtype).requires_grad_()
    bag, weights = attention.to(dtype)(large)
    assert bag.isfinite().all()
    assert weights.isfinite().all()
    assert gradient(bag.float().sum(), large).isfinite().all()


def test_refuses_a_mask_that_does_not_fit():
    attention, h = build()
    with pytest.raises(ValueError, match="does not match"):
        attention(h, torch.ones(3, 5, dtype=torch.bool))
