"""The cumulative link loss of ordered classes."""

import math

import pytest
import torch

from semilung.losses import cumulative_logits, ordinal_loss, ordinal_probabilities

NAN = float("nan")


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_ordinal_loss_by_hand():
    outputs = torch.tensor([[2.0, 0.5], [-1.0, -1.0]])
    steps = [[2.0, 2.0 - math.log1p(math.exp(0.5))], [-1.0, -1.0 - math.log1p(math.exp(-1.0))]]
    torch.testing.assert_close(cumulative_logits(outputs), torch.tensor(steps))
    first = -math.log(sigmoid(steps[0][0])) - math.log(1 - sigmoid(steps[0][1]))  # of class 1
    second = -math.log(1 - sigmoid(steps[1][0])) - math.log(1 - sigmoid(steps[1][1]))  # of class 0
    loss = ordinal_loss(outputs, torch.tensor([1.0, 0.0]))
    assert float(loss) == pytest.approx((first + second) / 2, abs=1e-6)
    weighted = ordinal_loss(outputs, torch.tensor([1.0, 0.0]), torch.tensor([3.0, 0.5, 9.0]))
    assert float(weighted) == pytest.approx((0.5 * first + 3 * second) / 2, abs=1e-6)


def test_ordinal_probabilities_are_a_distribution_for_any_output():
    outputs = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 5
    probabilities = ordinal_probabilities(outputs)
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(50))


def test_ordinal_loss_missing_targets_teach_nothing():
    outputs = torch.tensor([[2.0, 0.5], [-1.0, 3.0]], requires_grad=True)
    loss = ordinal_loss(outputs, torch.tensor([1.0, NAN]))
    torch.testing.assert_close(loss, ordinal_loss(outputs[:1], torch.tensor([1.0])))
    loss.backward()
    assert outputs.grad[1].tolist() == [0, 0]
    assert outputs.grad[0].abs().sum() > 0
    nothing = ordinal_loss(outputs, torch.tensor([NAN, NAN]))
    nothing.backward()
    assert nothing.item() == 0


def test_ordinal_loss_gradient():
    outputs = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0.0, 2.0, 4.0])
    assert torch.autograd.gradcheck(lambda x: ordinal_loss(x, target), outputs)
