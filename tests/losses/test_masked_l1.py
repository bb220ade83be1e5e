import pytest
import torch

from semilung.losses import masked_l1_loss


def test_masked_l1_loss_by_hand_is_a_mean_over_samples():
    values, target = torch.zeros(2, 2, 3), torch.tensor([1.0, 2.0, 4.0]).expand(2, 2, 3)
    mask = torch.tensor([[[True, True, False]], [[False, False, False]]])
    assert float(masked_l1_loss(values, target, mask)) == 0.75  # (1.5 + 0) / 2


def test_masked_l1_loss_reads_nothing_outside_the_mask():
    mask = torch.tensor([[[True, False]]])
    values = torch.tensor([[[1.0, 5.0]]], requires_grad=True)
    target = torch.tensor([[[0.5, float("nan")]]])
    masked_l1_loss(values, target, mask).backward()
    assert values.grad.tolist() == [[[1.0, 0.0]]]


def test_masked_l1_loss_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match="do not match"):
        masked_l1_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.ones(1, 2, 3).bool())
