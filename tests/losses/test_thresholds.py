"""Class-adaptive thresholds: the published update as oracle, bounds, rare classes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_inputs import random_logits

from semilung.losses import (
    adaptive_threshold,
    confidence_statistics,
    confident_mask,
    probabilities,
)


def freematch(batches, classes, decay):
    """Wang et al., ICLR 2023, equations 5 to 8, on flat lists of distributions."""
    tau, p = 1 / classes, torch.full((classes,), 1 / classes, dtype=torch.float64)
    for q in batches:
        tau = decay * tau + (1 - decay) * q.max(dim=-1).values.mean()
        p = decay * p + (1 - decay) * q.mean(dim=0)
    return p / p.max() * tau


@given(st.integers(0, 50), st.sampled_from([2, 3, 5]), st.sampled_from([0.5, 0.9, 0.999]))
@settings(max_examples=20, deadline=None)
def test_is_the_published_threshold(seed, classes, decay):
    batches = [probabilities(2 * random_logits(classes, seed + i)) for i in range(3)]
    tau, p = torch.tensor(1 / classes).double(), torch.full((classes,), 1 / classes).double()
    for q in batches:
        confidence, class_probs = confidence_statistics(q)
        tau, p = tau.lerp(confidence, 1 - decay), p.lerp(class_probs, 1 - decay)
    flat = [q.flatten(2).transpose(1, 2).reshape(-1, classes) for q in batches]
    torch.testing.assert_close(adaptive_threshold(tau, p), freematch(flat, classes, decay))


def test_statistics_by_hand_for_one_channel():
    # (1 - q, q) of 0.25 and 0.9: confidence (0.75 + 0.9) / 2, foreground (0.25 + 0.9) / 2.
    confidence, class_probs = confidence_statistics(torch.tensor([0.25, 0.9]).view(1, 1, 2, 1))
    assert confidence.item() == pytest.approx(0.825)
    assert class_probs.tolist() == pytest.approx([0.425, 0.575])


def test_statistics_are_means_over_samples():
    probs = probabilities(random_logits(3, batch=4))
    halves = [confidence_statistics(half) for half in probs.split(2)]
    whole = confidence_statistics(probs)
    for k in range(2):
        torch.testing.assert_close(whole[k], (halves[0][k] + halves[1][k]) / 2)


def test_statistics_of_half_precision_do_not_stall():
    probs = torch.full((1, 1, 300, 300), 0.75, dtype=torch.half)
    confidence, class_probs = confidence_statistics(probs)
    assert confidence.item() == 0.75
    assert class_probs.tolist() == [0.25, 0.75]
    # averages that move by a thousandth a step stand still in half precision
    assert confidence.dtype == class_probs.dtype == torch.float32


def test_statistics_carry_no_gradient():
    probs = probabilities(random_logits(2)).requires_grad_()
    assert not any(value.requires_grad for value in confidence_statistics(probs))


def test_adaptive_threshold_most_frequent_class_gets_the_global_one():
    threshold = adaptive_threshold(torch.tensor(0.9), torch.tensor([0.8, 0.2]))
    assert threshold.tolist() == pytest.approx([0.9, 0.225])


def test_adaptive_threshold_lower_bound_holds_for_a_rare_class():
    p = torch.tensor([0.999, 0.001])
    q = torch.full((1, 1, 2, 2), 0.55)
    assert confident_mask(q, adaptive_threshold(torch.tensor(0.98), p)).all()
    bounded = adaptive_threshold(torch.tensor(0.98), p, bounds=(0.8, 0.95))
    assert bounded.tolist() == pytest.approx([0.95, 0.8])
    assert not confident_mask(q, bounded).any()
