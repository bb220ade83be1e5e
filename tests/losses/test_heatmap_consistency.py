import pytest
import torch

from semilung.losses import heatmap_consistency_loss


def test_heatmap_consistency_loss_is_per_centre_and_a_mean_over_samples():
    p = torch.tensor([[[0.5, 0.5, 0.0]], [[0.5, 0.0, 0.0]]])
    q = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 0.0]]])
    assert float(heatmap_consistency_loss(p, q)) == pytest.approx((0.5 / 2 + 0.25) / 2)


def test_heatmap_consistency_loss_teaches_the_student_alone():
    p, q = (torch.full((1, 1, 4), v, requires_grad=True) for v in (0.2, 0.6))
    heatmap_consistency_loss(p, q).backward()
    assert q.grad is None
    assert (p.grad < 0).all()


def test_heatmap_consistency_loss_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match="differ"):
        heatmap_consistency_loss(torch.zeros(1, 1, 4), torch.zeros(1, 1, 5))
