"""Supervised, healthy and consistency losses: hand-derived values, gradients, extremes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_inputs import random_logits, random_target
from torch.autograd import gradcheck

from semilung.losses import consistency_loss, dice_ce_loss, healthy_loss, probabilities


class TestDiceCE:
    def test_golden_binary(self):
        # Four voxels at p = 1/2, two of them foreground; s = 1.
        # Dice: 1 - (2 * 1 + 1) / (2 + 2 + 1) = 2/5. Cross-entropy: ln 2 everywhere.
        target = torch.tensor([1, 1, 0, 0]).view(1, 1, 2, 2)
        loss = dice_ce_loss(torch.zeros(1, 1, 2, 2), target)
        assert loss.item() == pytest.approx(0.4 + math.log(2))

    def test_golden_three_classes(self):
        # Uniform thirds; class 1 in one of four voxels, class 2 absent (no Dice term of its own).
        # Dice of class 1: 1 - (2/3 + 1) / (4/3 + 1 + 1) = 1/2. Cross-entropy: ln 3.
        target = torch.tensor([1, 0, 0, 0]).view(1, 1, 2, 2)
        loss = dice_ce_loss(torch.zeros(1, 3, 2, 2), target)
        assert loss.item() == pytest.approx(0.5 + math.log(3))

    def test_ignored_voxels_do_not_count(self):
        logits = random_logits(1)
        target = random_target(1)
        target[:, :, 0] = 255
        other = logits.clone()
        other[:, :, 0] = 1e4
        assert dice_ce_loss(logits, target) == dice_ce_loss(other, target)

    def test_golden_with_ignored_voxels(self):
        # Probabilities 1/2 (or 1/3) everywhere, one voxel of four ignored, s = 1; the Dice terms
        # 1 - (2 * 1 + 1) / (3/2 + 2 + 1) = 1/3 and 1 - (2/3 + 1) / (3/3 + 1 + 1) = 4/9.
        target = torch.tensor([1, 1, 255, 0]).view(1, 1, 2, 2)
        binary = dice_ce_loss(torch.zeros(1, 1, 2, 2), target)
        assert binary.item() == pytest.approx(1 / 3 + math.log(2))
        target = torch.tensor([1, 0, 255, 0]).view(1, 1, 2, 2)
        three = dice_ce_loss(torch.zeros(1, 3, 2, 2), target)
        assert three.item() == pytest.approx(4 / 9 + math.log(3))

    @pytest.mark.parametrize("channels", [1, 2, 4])
    def test_ignored_voxels_are_as_if_cut_out(self, channels):
        logits, target = random_logits(channels, size=(60,)), random_target(channels, size=(60,))
        for samples in (slice(0, 1), slice(1, 2)):
            hidden = target[samples].clone()
            hidden[:, :, ::3] = 255
            valid = hidden[0, 0] != 255
            cut = dice_ce_loss(logits[samples][..., valid], target[samples][..., valid])
            torch.testing.assert_close(dice_ce_loss(logits[samples], hidden), cut)

    def test_not_even_a_nan_counts_where_it_is_ignored(self):
        logits, target = random_logits(1), random_target(1)
        target[:, :, 0] = 255
        clean = logits.clone().requires_grad_()
        dirty = logits.clone()
        dirty[:, :, 0] = torch.nan
        dirty.requires_grad_()
        losses = [dice_ce_loss(x, target) for x in (clean, dirty)]
        assert losses[0] == losses[1]
        torch.stack(losses).sum().backward()
        assert torch.equal(clean.grad, dirty.grad)

    def test_the_ignored_value_may_be_another(self):
        logits, target = torch.randn(1, 1, 2, 2), torch.tensor([1, 1, 0, 0]).view(1, 1, 2, 2)
        marked = torch.where(torch.tensor([1, 0, 0, 1]).view(1, 1, 2, 2) == 1, 7, target)
        usual = torch.where(marked == 7, 255, target)
        assert dice_ce_loss(logits, marked, ignore=7) == dice_ce_loss(logits, usual)

    def test_smoothing_is_in_voxels(self):
        # As the golden binary one: Dice 1 - (2 * 1 + s) / (2 + 2 + s).
        target = torch.tensor([1, 1, 0, 0]).view(1, 1, 2, 2)
        for s in (0.0, 3.0):
            loss = dice_ce_loss(torch.zeros(1, 1, 2, 2), target, ce_weight=0, smooth=s)
            assert loss.item() == pytest.approx(1 - (2 + s) / (4 + s))

    @pytest.mark.parametrize("value", [-1, -100, 2, 0.5, math.nan])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_targets_that_are_no_classes_are_refused(self, value, channels):
        target = torch.zeros(1, 1, 2, 2, dtype=torch.float32)
        target[0, 0, 0, 0] = value
        with pytest.raises(ValueError, match="target has"):
            dice_ce_loss(torch.zeros(1, channels, 2, 2), target)

    def test_all_ignored_is_zero_with_zero_gradient(self):
        logits = random_logits(1).requires_grad_()
        loss = dice_ce_loss(logits, torch.full((2, 1, 4, 3, 5), 255))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0
        assert gradient.abs().sum() == 0

    def test_empty_target_is_cross_entropy_alone(self):
        logits = random_logits(1)
        empty = torch.zeros(2, 1, 4, 3, 5, dtype=torch.long)
        expected = -torch.log(1 - torch.sigmoid(logits)).mean()
        assert dice_ce_loss(logits, empty).item() == pytest.approx(expected.item())

    @pytest.mark.parametrize("channels", [1, 2, 4])
    def test_mean_over_samples(self, channels):
        logits, target = random_logits(channels, batch=3), random_target(channels, batch=3)
        single = [dice_ce_loss(logits[i : i + 1], target[i : i + 1]) for i in range(3)]
        assert dice_ce_loss(logits, target).item() == pytest.approx(sum(single).item() / 3)

    def test_one_channel_equals_two(self):
        logit, target = random_logits(1), random_target(1)
        two = torch.cat([torch.zeros_like(logit), logit], dim=1)
        assert dice_ce_loss(logit, target).item() == pytest.approx(dice_ce_loss(two, target).item())

    @pytest.mark.parametrize("channels", [1, 3])
    def test_gradcheck(self, channels):
        logits = random_logits(channels, size=(2, 2, 3)).requires_grad_()
        target = random_target(channels, size=(2, 2, 3))
        assert gradcheck(lambda x: dice_ce_loss(x, target), (logits,))

    @pytest.mark.parametrize("value", [-1e4, 1e4])
    def test_extreme_logits_are_finite(self, value):
        logits = torch.full((1, 1, 3, 3, 3), value, requires_grad=True)
        target = torch.zeros(1, 1, 3, 3, 3)
        target[..., 0] = 1
        loss = dice_ce_loss(logits, target)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert gradient.isfinite().all()

    def test_half_precision_sums_do_not_overflow(self):
        # 80000 voxels of p = 1 are beyond the largest number of half precision, 65504.
        target = torch.zeros(1, 1, 400, 400)
        target[..., :200] = 1
        logits = (20 * target - 10).half().requires_grad_()
        loss = dice_ce_loss(logits, target, ce_weight=0)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == pytest.approx(0, abs=1e-3)
        assert gradient.isfinite().all()

    def test_shapes_that_do_not_match_are_refused(self):
        with pytest.raises(ValueError, match="does not match"):
            dice_ce_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4))
        with pytest.raises(ValueError, match="classes 2"):
            dice_ce_loss(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2))


class TestHealthy:
    def test_golden(self):
        # p = 1/2 in one voxel of four and next to 0 elsewhere: mean ln2 / 4, hardest quarter ln 2.
        logits = torch.tensor([0.0, -50, -50, -50]).view(1, 1, 2, 2)
        assert healthy_loss(logits).item() == pytest.approx(math.log(2) / 4)
        assert healthy_loss(logits, hardest=0.25).item() == pytest.approx(math.log(2))

    @pytest.mark.parametrize(("hardest", "count"), [(0.1, 1), (0.4, 2), (0.5, 2), (0.51, 3)])
    def test_hardest_share_is_rounded_up_to_whole_voxels(self, hardest, count):
        # -log p_0 of the logits is next to 40, 30, 20 and 10.
        logits = torch.tensor([10.0, 40, 20, 30]).view(1, 1, 2, 2)
        expected = sum([40, 30, 20][:count]) / count
        assert healthy_loss(logits, hardest=hardest).item() == pytest.approx(expected)

    def test_has_gradient_where_soft_dice_has_none(self):
        logits = torch.full((1, 1, 8, 8, 8), -2.0, requires_grad=True)
        (gradient,) = torch.autograd.grad(healthy_loss(logits), logits)
        probability = torch.sigmoid(torch.tensor(-2.0))
        torch.testing.assert_close(gradient, torch.full_like(gradient, probability / 512))

    def test_several_classes_push_towards_background(self):
        logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
        loss = healthy_loss(logits)
        loss.backward()
        assert loss.item() == pytest.approx(math.log(3))
        assert (logits.grad[:, 0] < 0).all()
        assert (logits.grad[:, 1:] > 0).all()

    @given(st.floats(0.01, 1.0), st.integers(0, 5))
    @settings(max_examples=25, deadline=None)
    def test_harder_share_is_no_smaller(self, hardest, seed):
        logits = random_logits(1, seed=seed)
        assert healthy_loss(logits, hardest=hardest) >= healthy_loss(logits) - 1e-12

    def test_gradcheck(self):
        logits = random_logits(2, size=(2, 2, 2)).requires_grad_()
        assert gradcheck(lambda x: healthy_loss(x, hardest=0.5), (logits,))

    @pytest.mark.parametrize("hardest", [0, -1, 1.5])
    def test_refuses_other_shares(self, hardest):
        with pytest.raises(ValueError, match="hardest"):
            healthy_loss(torch.zeros(1, 1, 2, 2), hardest=hardest)


class TestConsistency:
    def test_golden_with_mask(self):
        # Squared differences 0.25, 0.04; the mask keeps the second alone.
        probs = torch.tensor([0.5, 0.2]).view(1, 1, 2, 1)
        target = torch.tensor([0.0, 0.4]).view(1, 1, 2, 1)
        mask = torch.tensor([False, True]).view(1, 1, 2, 1)
        assert consistency_loss(probs, target).item() == pytest.approx(0.145)
        assert consistency_loss(probs, target, mask=mask).item() == pytest.approx(0.04)

    def test_equal_predictions_cost_nothing(self):
        probs = probabilities(random_logits(3))
        assert consistency_loss(probs, probs).item() == 0

    def test_nothing_certain_is_zero_with_gradient_zero(self):
        probs = probabilities(random_logits(1)).requires_grad_()
        loss = consistency_loss(probs, torch.zeros_like(probs), mask=torch.zeros_like(probs) > 1)
        (gradient,) = torch.autograd.grad(loss, probs)
        assert loss.item() == 0
        assert gradient.abs().sum() == 0

    def test_gradient_reaches_the_student_only(self):
        student = probabilities(random_logits(1)).requires_grad_()
        teacher = probabilities(random_logits(1, seed=1)).requires_grad_()
        loss = consistency_loss(student, teacher)
        gradients = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
        torch.testing.assert_close(gradients[0], 2 * (student - teacher) / student.numel())
        assert gradients[1] is None

    def test_half_precision_sums_do_not_overflow(self):
        probs = torch.ones(1, 1, 300, 300, dtype=torch.half)
        mask = torch.ones_like(probs, dtype=torch.bool)
        assert consistency_loss(probs, torch.zeros_like(probs), mask=mask).item() == 1

    def test_refuses_other_shapes(self):
        with pytest.raises(ValueError, match="differ"):
            consistency_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2))
        with pytest.raises(ValueError, match="does not match"):
            consistency_loss(
                torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), mask=torch.ones(2, 2)
            )


def test_small_losses_of_sure_voxels_survive_half_precision():
    """Computed in half precision, x (1 - t) - log sigmoid(x) cancels to 0."""
    for dtype in (torch.bfloat16, torch.float16):
        logits = torch.full((1, 1, 2, 2, 2), -5.0, dtype=dtype)
        loss = healthy_loss(logits)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(math.log1p(math.exp(-5)), rel=1e-4)


def test_the_hardest_voxels_are_those_of_each_sample():
    """Of a loud and a silent sample: the mean of their losses, whatever the batch."""
    logits = torch.tensor([[20.0, 20.0], [-40.0, 0.0]]).view(2, 1, 2, 1, 1)
    alone = [healthy_loss(logits[i : i + 1], hardest=0.5).item() for i in (0, 1)]
    assert alone == pytest.approx([20, math.log(2)], rel=1e-5)
    assert healthy_loss(logits, hardest=0.5).item() == pytest.approx(sum(alone) / 2)


def test_consistency_is_a_mean_over_classes():
    student, teacher = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    student[:, 0] = 0.6
    assert consistency_loss(student, teacher).item() == pytest.approx(0.36 / 3)
