"""Hinge losses: golden values, saturation, means over samples."""

import pytest
import torch
from loss_inputs import gradient, random_logits
from torch.autograd import gradcheck

from semilung.losses import hinge_discriminator_loss, hinge_generator_loss


def test_golden():
    # max(0, 1 - r): 0.5, 0; max(0, 1 + f): 0, 3. Means 0.25 and 1.5.
    real, fake = torch.tensor([0.5, 3.0]), torch.tensor([-2.0, 2.0])
    assert hinge_discriminator_loss(real, fake).item() == 1.75
    assert hinge_generator_loss(fake).item() == 0


def test_discriminator_loss_beyond_the_margin_has_no_gradient():
    real = torch.tensor([0.5, 1.5]).requires_grad_()
    fake = torch.tensor([-0.5, -1.5]).requires_grad_()
    to_real, to_fake = gradient(hinge_discriminator_loss(real, fake), real, fake)
    assert to_real.tolist() == [-0.5, 0]
    assert to_fake.tolist() == [0.5, 0]


def test_generator_loss_always_has_a_gradient():
    fake = torch.tensor([-1e4, 0, 1e4]).requires_grad_()
    torch.testing.assert_close(gradient(hinge_generator_loss(fake), fake), torch.full((3,), -1 / 3))


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4)])
def test_mean_over_samples_of_patches(size):
    real, fake = random_logits(1, size=size), random_logits(1, seed=1, size=size)
    singles = [hinge_discriminator_loss(real[b], fake[b]) for b in range(2)]
    torch.testing.assert_close(hinge_discriminator_loss(real, fake), torch.stack(singles).mean())


def test_gradcheck():
    real, fake = random_logits(1, size=(2, 2)), random_logits(1, seed=1, batch=3, size=(2, 2))
    assert gradcheck(hinge_discriminator_loss, (real.requires_grad_(), fake.requires_grad_()))
    assert gradcheck(hinge_generator_loss, (fake,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extremes_of_half_precision(dtype):
    scores = torch.full((300, 300), 1e4, dtype=dtype)
    assert hinge_discriminator_loss(-scores, scores).item() == pytest.approx(2e4, rel=1e-2)
    assert hinge_generator_loss(scores).item() == pytest.approx(-1e4, rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_half_precision_scores_are_single_precision(dtype):
    # The means 1 + 2/3 and 2/3, which half precision rounds to 1.667 and bfloat16 to 1.664.
    real, fake = torch.tensor([1.0, 0, -1], dtype=dtype), torch.tensor([-1.0, -1, 1], dtype=dtype)
    assert hinge_discriminator_loss(real, real).item() == pytest.approx(2, rel=1e-6)
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx(1 + 2 / 3, rel=1e-6)
    assert hinge_discriminator_loss(-fake, -real).item() == pytest.approx(2 / 3 + 1, rel=1e-6)
    assert hinge_generator_loss(fake).item() == pytest.approx(1 / 3, rel=1e-6)
