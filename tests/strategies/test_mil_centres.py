"""The bag term of detection: a scan label bounds the loudest peak of centres."""

import math

import pytest
import torch
from pixel_nets import PRIOR

from semilung.strategies import Learner
from semilung.strategies.mil.multiple_instance import MIL
from semilung.testing import tiny_batch, tiny_learner
from semilung.testing.problem import within


def terms_of(learner, batch):
    return {name.split("/")[1]: term for name, term in learner(batch, 1.0).items()}


def learner_of(tasks, **options):
    return tiny_learner(within(lambda: MIL(**options), tasks))


class Loud(torch.nn.Module):
    """A student whose centre heatmap is its image, and whose embedding is nothing."""

    def forward(self, x):
        maps = torch.zeros(len(x), 5, *x.shape[2:])
        maps[:, :1] = x - PRIOR
        return {"centres": maps, "embedding": torch.zeros_like(x)}


def loud_bag(*probabilities, label):
    """A bag of crops with one voxel of each probability among voxels of 0.001; the last is none."""
    crops = torch.full((1, len(probabilities) + 1, 1, 2, 2, 2), 0.001)
    crops[0, :-1, 0, 1, 0, 1] = torch.tensor(probabilities)
    crops[0, -1] = 0.999
    real = torch.tensor([[True] * len(probabilities) + [False]])
    crops = torch.logit(crops).requires_grad_()
    return crops, {"bag": crops, "bag_mask": real, "bag_label": torch.tensor([label])}


@pytest.mark.parametrize("chunk", [1, 8])
@pytest.mark.parametrize("label", [0, 1])
def test_mil_centre_bag_is_the_noisy_or_of_the_loudest_peaks_by_hand(label, chunk):
    strategy = MIL(width=1, k=2, leak=0.1, centre_weight=0.3, rampup=0, chunk=chunk)
    learner = Learner(Loud(), {"checked": strategy})
    crops, batch = loud_bag(0.2, 0.6, 0.5, label=label)
    terms = terms_of(learner, {"weak": batch})
    probability = 1 - 0.9 * 0.4 * 0.5  # of the two loudest of three crops
    by_hand = -math.log(probability if label else 1 - probability)
    assert terms["centre_bag"].value.item() == pytest.approx(by_hand, rel=1e-5)
    assert terms["centre_bag"].weight == 0.3
    assert "voxels" not in terms
    (slope,) = torch.autograd.grad(terms["centre_bag"].value, [crops])
    peaks = slope[0, :3, 0, 1, 0, 1]
    sign = -1 if label else 1  # a step lowers those of a negative bag, raises those of a positive
    assert peaks[0] == 0
    assert (sign * peaks[1:] > 0).all()
    assert slope.abs().sum().item() == pytest.approx(peaks.abs().sum().item())


def test_mil_centre_bag_of_a_certain_peak_leaves_the_others_alone():
    learner = Learner(Loud(), {"checked": MIL(width=1, k=2, rampup=0)})
    crops, batch = loud_bag(0.9999, 0.2, label=1)
    (slope,) = torch.autograd.grad(terms_of(learner, {"weak": batch})["centre_bag"].value, [crops])
    assert slope.abs().max() < 1e-3


def test_mil_centre_bag_can_be_switched_off_and_does_without_segmentation():
    batch = tiny_batch(MIL())
    names = {
        tasks: {n for n, term in terms_of(learner_of(tasks), batch).items() if term.weight}
        for tasks in (("segmentation",), ("detection",), ("segmentation", "detection"))
    }
    assert list(names.values()) == [
        {"bag", "voxels"},
        {"bag", "centre_bag"},
        {"bag", "voxels", "centre_bag"},
    ]
    assert "centre_bag" not in terms_of(learner_of(("detection",), centre_weight=0.0), batch)
