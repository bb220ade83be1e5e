"""Pseudo-labels: what is confident, what is ignored, and the published masks as oracles."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_inputs import extremes, gradient, random_logits, random_mask
from torch.autograd import gradcheck

from semilung.losses import confident_mask, probabilities, pseudo_label_loss


def fixmatch(logits, teacher_logits, p_cutoff):
    """The loss of FixMatch (Sohn et al., NeurIPS 2020, equation 4), a voxel in place of an image.

    Mean over all of [max q >= cutoff] CE(argmax q, p).
    """
    q = torch.softmax(teacher_logits, dim=1)
    confidence, label = q.max(dim=1)
    return ((confidence >= p_cutoff) * F.cross_entropy(logits, label, reduction="none")).mean()


def unimatch(logits, teacher_logits, p_cutoff):
    """FixMatch over the confident voxels of each sample alone, spelled out voxel by voxel."""
    q, logp = torch.softmax(teacher_logits, dim=1), torch.log_softmax(logits, dim=1)
    losses = []
    for b in range(len(logits)):
        values = [
            -logp[b, :, i, j][q[b, :, i, j].argmax()]
            for i in range(logits.shape[2])
            for j in range(logits.shape[3])
            if q[b, :, i, j].max() >= p_cutoff
        ]
        losses.append(torch.stack(values).mean() if values else torch.tensor(0.0))
    return torch.stack([loss.double() for loss in losses]).mean()


def test_golden():
    # q = 0.99 (foreground), 0.6 (unsure), 0.02 (background); p = 1/2, so ln 2 a confident voxel.
    q = torch.tensor([0.99, 0.6, 0.02]).view(1, 1, 3, 1)
    logits = torch.zeros(1, 1, 3, 1)
    assert pseudo_label_loss(logits, q).item() == pytest.approx(math.log(2))
    over_all = pseudo_label_loss(logits, q, average="all")
    assert over_all.item() == pytest.approx(2 / 3 * math.log(2))


def test_below_the_threshold_is_ignored_and_not_background():
    q = torch.tensor([0.99, 0.7, 0.3, 0.01]).view(1, 1, 2, 2)
    logits = torch.tensor([2.0, 3.0, -1.0, 1.0]).view(1, 1, 2, 2).requires_grad_()
    for average in ("confident", "all"):
        reached = gradient(pseudo_label_loss(logits, q, average=average), logits).flatten()
        assert reached[0] < 0  # towards foreground
        assert reached[1] == 0
        assert reached[2] == 0
        assert reached[3] > 0  # towards background


@given(st.integers(0, 50), st.sampled_from([0.5, 0.7, 0.95]), st.sampled_from([2, 3]))
@settings(max_examples=25, deadline=None)
def test_is_the_published_loss(seed, threshold, channels):
    logits = random_logits(channels, seed, size=(3, 4))
    teacher = 3 * random_logits(channels, seed + 1, size=(3, 4))
    q = probabilities(teacher)
    ours = pseudo_label_loss(logits, q, threshold=threshold, average="all")
    torch.testing.assert_close(ours, fixmatch(logits, teacher, threshold))
    ours = pseudo_label_loss(logits, q, threshold=threshold)
    torch.testing.assert_close(ours, unimatch(logits, teacher, threshold))


@given(st.integers(0, 50), st.sampled_from([1, 3]), st.sampled_from([(3, 4), (2, 3, 4)]))
@settings(max_examples=25, deadline=None)
def test_mask_is_dropping_and_batch_is_mean_of_singles(seed, channels, size):
    logits = random_logits(channels, seed, size=size)
    q = probabilities(2 * random_logits(channels, seed + 1, size=size))
    mask = random_mask(seed, size=size)
    mask[:, :, 0, 0] = True
    for average in ("confident", "all"):
        options = {"threshold": 0.6, "average": average}
        singles = []
        for b in range(2):
            allowed = mask[b, 0]
            singles.append(
                pseudo_label_loss(logits[b, :, allowed][None], q[b, :, allowed][None], **options)
            )
        loss = pseudo_label_loss(logits, q, mask=mask, **options)
        torch.testing.assert_close(loss, torch.stack(singles).mean())


def test_one_channel_equals_two():
    logits, q = random_logits(1), probabilities(3 * random_logits(1, seed=1))
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    both = torch.cat([1 - q, q], dim=1)
    for threshold in (0.0, 0.8, torch.tensor([0.9, 0.6])):
        one = pseudo_label_loss(logits, q, threshold=threshold)
        torch.testing.assert_close(one, pseudo_label_loss(two, both, threshold=threshold))


def test_a_threshold_for_each_class():
    # argmax 0 at 0.7 and 0.9, argmax 2 at 0.7: class 0 asks for 0.8, class 2 for 0.6.
    q = torch.tensor([[0.7, 0.2, 0.1], [0.9, 0.05, 0.05], [0.2, 0.1, 0.7]]).T.view(1, 3, 3, 1)
    sure = confident_mask(q, torch.tensor([0.8, 0.99, 0.6]))
    assert sure.shape == (1, 1, 3, 1)
    assert sure.flatten().tolist() == [False, True, True]


def test_confidence_at_the_threshold_counts():
    assert confident_mask(torch.full((1, 1, 1, 1), 0.75), 0.75).all()


def test_thresholds_of_0_and_1_are_allowed_one_by_one_and_a_class():
    q = torch.tensor([0.0, 0.25, 0.75, 1.0]).view(1, 1, 4, 1)
    assert confident_mask(q, 1.0).flatten().tolist() == [True, False, False, True]
    assert confident_mask(q, torch.tensor([1.0, 0.0])).flatten().tolist() == [
        True, False, True, True
    ]  # fmt: skip


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_a_higher_threshold_keeps_fewer(low, high):
    low, high = sorted((low, high))
    q = probabilities(3 * random_logits(3))
    assert not (confident_mask(q, high) & ~confident_mask(q, low)).any()


def test_nothing_confident_is_zero_with_gradient_zero():
    logits = random_logits(1).requires_grad_()
    for average in ("confident", "all"):
        loss = pseudo_label_loss(logits, torch.full_like(logits, 0.6), average=average)
        assert loss.item() == 0
        assert gradient(loss, logits).abs().sum() == 0


def test_no_gradient_flows_into_the_teacher():
    teacher = (5 * random_logits(3, seed=1)).requires_grad_()
    logits = random_logits(3).requires_grad_()
    loss = pseudo_label_loss(logits, probabilities(teacher), threshold=0.5)
    to_student, to_teacher = gradient(loss, logits, teacher)
    assert to_student.abs().sum() > 0
    assert to_teacher is None


@pytest.mark.parametrize("channels", [1, 3])
def test_gradcheck(channels):
    logits = random_logits(channels, size=(2, 3)).requires_grad_()
    q = probabilities(3 * random_logits(channels, seed=1, size=(2, 3)))
    assert gradcheck(lambda x: pseudo_label_loss(x, q, threshold=0.7), (logits,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_extreme_logits(dtype, channels):
    logits = extremes(dtype, channels).requires_grad_()
    q = probabilities(-logits.detach())
    mask = torch.ones(1, 1, 3, 4, dtype=torch.bool)
    loss = pseudo_label_loss(logits, q, threshold=0.4, mask=mask)
    assert loss.isfinite()
    assert loss > 100
    assert gradient(loss, logits).isfinite().all()


def test_shapes_that_do_not_match_are_refused():
    logits, q = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match="differ"):
        pseudo_label_loss(logits, q[:, :1])
    with pytest.raises(ValueError, match="does not match"):
        pseudo_label_loss(logits, q, mask=torch.ones(1, 3, 2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="3 classes"):
        pseudo_label_loss(logits, q, threshold=torch.tensor([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        pseudo_label_loss(logits, q, threshold=95)
    with pytest.raises(ValueError, match="average"):
        pseudo_label_loss(logits, q, average="none")


@pytest.mark.parametrize("threshold", [[95.0, 95.0], [0.5, -0.1], [math.nan, 0.5]])
def test_refuses_class_thresholds_that_no_probability_reaches(threshold):
    with pytest.raises(ValueError, match=r"thresholds must lie in \[0, 1\]"):
        pseudo_label_loss(
            torch.zeros(1, 1, 2), torch.rand(1, 1, 2), threshold=torch.tensor(threshold)
        )
