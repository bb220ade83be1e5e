"""Pairwise affinity: golden values by hand, pairs of neighbours, edges of objects."""

import math

import pytest
import torch
from loss_inputs import gradient, random_logits

from semilung.losses import pairwise_affinity_loss

LN2, CONFIDENT = math.log(2), 12.0


def line(*probs):
    """Logits `(1, 1, 1, n)` of probabilities."""
    return torch.logit(torch.tensor(probs, dtype=torch.float64)).view(1, 1, 1, -1)


def ball(radius):
    """Confident logits `(1, 1, 21, 21, 21)` of a ball in the middle."""
    axes = torch.meshgrid(*(torch.arange(21),) * 3, indexing="ij")
    squared = sum((x - 10) ** 2 for x in axes)
    return torch.where(squared <= radius**2, CONFIDENT, -CONFIDENT)[None, None].double()


def test_pairwise_affinity_golden():
    image = torch.tensor([0.5, 0.5, 0.9]).view(1, 1, 1, 3)
    # one pair is similar: 0.8 * 0.6 + 0.2 * 0.4
    loss = pairwise_affinity_loss(line(0.8, 0.6, 0.1), image)
    assert loss.item() == pytest.approx(-math.log(0.56))


def test_pairwise_affinity_threshold_is_a_difference_of_intensity():
    logits = line(0.8, 0.6)
    for step, is_pair in ((0.071, True), (0.073, False)):  # 0.06 ln(1 / 0.3) = 0.0722
        image = torch.tensor([0.5, 0.5 + step]).view(1, 1, 1, 2)
        assert (pairwise_affinity_loss(logits, image) > 0).item() == is_pair


def test_pairwise_affinity_pairs_every_neighbour_once():
    logits, image = torch.zeros(1, 1, 3, 3, 3), torch.zeros(1, 1, 3, 3, 3)
    region = torch.zeros(1, 1, 3, 3, 3, dtype=torch.bool)
    region[0, 0, 1, 1, 1] = True
    logits[0, 0, 1, 1, 1] = CONFIDENT
    logits.requires_grad_()
    loss = pairwise_affinity_loss(logits, image, region=region)
    assert loss.item() == pytest.approx(LN2, rel=1e-4)
    pull = gradient(pairwise_affinity_loss(logits, image, region=region), logits)
    others = pull.flatten()[[*range(13), *range(14, 27)]]
    torch.testing.assert_close(others, others[0].expand(26))
    assert others[0].item() == pytest.approx(-0.5 / 26, rel=1e-4)  # towards their neighbour


def test_pairwise_affinity_dilation_pairs_farther_neighbours():
    image = torch.tensor([0.5, 0.9, 0.5]).view(1, 1, 1, 3)
    logits = line(0.8, 0.1, 0.6)
    assert pairwise_affinity_loss(logits, image).item() == 0
    loss = pairwise_affinity_loss(logits, image, dilation=2)
    assert loss.item() == pytest.approx(-math.log(0.56))
    assert pairwise_affinity_loss(logits, image, dilation=3).item() == 0


def test_pairwise_affinity_fills_a_bright_object_and_not_its_surroundings():
    image = (ball(5) > 0).double()
    small, leak = ball(4), ball(7)
    assert pairwise_affinity_loss(ball(5), image).item() < 1e-4
    assert pairwise_affinity_loss(small, image).item() > 0.1
    assert pairwise_affinity_loss(leak, image).item() > 0.1
    assert pairwise_affinity_loss(torch.full_like(small, -CONFIDENT), image).item() < 1e-4


def test_pairwise_affinity_is_a_mean_over_samples_of_their_own_pairs():
    logits, image = random_logits(1), 0.05 * random_logits(1, 7)
    image[1] *= 3  # fewer pairs
    single = [pairwise_affinity_loss(logits[i : i + 1], image[i : i + 1]) for i in range(2)]
    assert pairwise_affinity_loss(logits, image).item() == pytest.approx(sum(single).item() / 2)
