"""Schedules at their ends, groups with factors, clipping a group at a time."""

import pytest
import torch
from torch import nn

from semilung.training import OptimConfig
from semilung.training.optim import (
    build_optimizer,
    clip_gradients,
    learning_rate,
    set_learning_rate,
)
from semilung.types import UserError


def test_warm_up_then_poly_to_zero():
    config = OptimConfig(lr=1.0, warmup=0.1, schedule="poly")
    assert learning_rate(0.05, config) == pytest.approx(0.5)
    assert learning_rate(0.1, config) == pytest.approx(1.0)
    assert learning_rate(0.55, config) == pytest.approx(0.5**0.9)
    assert learning_rate(1.0, config) == 0


def test_cosine_is_half_in_the_middle():
    config = OptimConfig(lr=2.0, warmup=0.0, schedule="cosine")
    assert [learning_rate(t, config) for t in (0.0, 0.5, 1.0)] == pytest.approx([2, 1, 0])


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_groups_keep_their_factor(name, kind):
    one, two = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = build_optimizer([([one], 1.0), ([two], 0.1)], OptimConfig(name=name))
    set_learning_rate(optimizer, 0.5)
    assert isinstance(optimizer, kind)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])


def test_clipping_treats_groups_apart():
    small, large = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    small.grad, large.grad = torch.tensor([0.5]), torch.tensor([100.0])
    optimizer = build_optimizer([([small], 1.0), ([large], 1.0)], OptimConfig())
    assert clip_gradients(optimizer, 1.0) == pytest.approx([0.5, 100.0])
    assert small.grad.item() == pytest.approx(0.5)
    assert large.grad.item() == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [{"name": "adam"}, {"lr": -1}, {"warmup": 1.0}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(UserError, match="optim"):
        OptimConfig(**wrong)
