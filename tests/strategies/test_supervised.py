"""Supervised baseline: weights of Dice, cross-entropy and the healthy term."""

import math

import pytest
import torch
from pixel_nets import logit, pixel_learner

from semilung.strategies.supervised import Supervised


def run(progress=1.0, **options):
    """Terms on two labelled voxels, of which one is nodule, and on four healthy ones."""
    labelled = {"weak": logit([0.8, 0.4]), "mask": torch.tensor([1, 0]).view(1, 1, 2, 1, 1)}
    batch = {"labelled": labelled, "healthy": {"weak": logit([0.5, 0.2, 0.1, 0.1])}}
    return pixel_learner(Supervised(**options))(batch, progress)


CROSS_ENTROPY = -(math.log(0.8) + math.log(0.6)) / 2


def test_dice_and_cross_entropy_follow_their_weights():
    entropy = run(dice_weight=0.0, ce_weight=3.0)["s/labelled"].value.item()
    assert entropy == pytest.approx(3 * CROSS_ENTROPY)
    dice = run(dice_weight=2.0, ce_weight=0.0)["s/labelled"].value.item()
    assert dice == pytest.approx(
        2 * (1 - (2 * 0.8 + 1) / (1 + 0.8 + 0.4 + 1)), abs=1e-6
    )  # smooth 1


def test_the_hardest_share_of_healthy_voxels_counts():
    plain = -(math.log(0.5) + math.log(0.8) + 2 * math.log(0.9)) / 4
    assert run()["s/healthy"].value.item() == pytest.approx(plain)
    hardest = run(healthy_hardest=0.25)["s/healthy"].value.item()
    assert hardest == pytest.approx(math.log(2))


def test_the_healthy_weight_ramps_up_and_the_labelled_one_does_not():
    options = {"healthy_weight": 0.5, "healthy_rampup": 0.6}
    start, end = run(0.0, **options), run(0.6, **options)
    assert start["s/healthy"].weight == pytest.approx(0.5 * math.exp(-5))
    assert end["s/healthy"].weight == 0.5
    assert start["s/labelled"].weight == end["s/labelled"].weight == 1
