"""Adversarial training: gradients of student and discriminator stay separate."""

import pytest
import torch
from pixel_nets import pixel_learner

from semilung.strategies import adversarial, build_strategy
from semilung.strategies.adversarial import Adversarial
from semilung.testing import check_strategy, tiny_batch, tiny_learner
from semilung.types import IGNORE, UserError


def played(strategy=None):
    """A learner of the tiny problem and its terms at the end of the training."""
    torch.manual_seed(0)
    strategy = strategy or Adversarial()
    learner = tiny_learner(lambda: strategy)
    terms = learner(tiny_batch(strategy), 1.0)
    return (
        learner,
        strategy.discriminator,
        {k.removeprefix("checked/"): t for k, t in terms.items()},
    )


def keeps_the_players_apart():
    learner, discriminator, terms = played()
    terms["student"].value.backward(retain_graph=True)
    assert all(p.grad is None for p in discriminator.parameters()), (
        "the discriminator learns to be fooled"
    )
    assert any(p.grad is not None and p.grad.any() for p in learner.student.parameters())
    learner.zero_grad(set_to_none=True)
    terms["discriminator"].value.backward()
    assert all(p.grad is None for p in learner.student.parameters()), (
        "the student helps the discriminator"
    )
    assert all(
        p.grad is not None and p.grad.any() for p in discriminator.parameters() if p.ndim > 1
    )


def test_each_term_has_gradient_for_one_net_only():
    keeps_the_players_apart()


def test_one_backward_gives_each_its_own_gradient():
    _, discriminator, terms = played()
    expected = torch.autograd.grad(
        terms["discriminator"].value, list(discriminator.parameters()), retain_graph=True
    )
    sum(term.weight * term.value for term in terms.values()).backward()
    for p, wanted in zip(discriminator.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, wanted)


def test_discriminator_weights_that_are_not_detached_are_caught(monkeypatch):
    monkeypatch.setattr(adversarial, "functional_call", lambda net, weights, x: net(x))
    with pytest.raises(AssertionError, match="learns to be fooled"):
        keeps_the_players_apart()


class NotDetached(Adversarial):
    """A mistake: the discriminator's term reads predictions that still hang on the student."""

    def terms(self, step):
        labelled, unlabelled = (adversarial._pair(step, s) for s in ("labelled", "unlabelled"))
        loss = adversarial.hinge_discriminator_loss(self._score(labelled), self._score(unlabelled))
        return super().terms(step) | {"discriminator": adversarial.Term(loss)}


def test_predictions_that_are_not_detached_are_caught(monkeypatch):
    monkeypatch.setitem(played.__globals__, "Adversarial", NotDetached)
    with pytest.raises(AssertionError, match="helps the discriminator"):
        keeps_the_players_apart()


def test_golden_value_of_a_constant_discriminator():
    _, discriminator, _ = played(strategy := Adversarial())
    with torch.no_grad():
        discriminator.final_conv.conv.weight.zero_()
        discriminator.final_conv.conv.bias.fill_(0.25)
    learner = tiny_learner(lambda: strategy)
    terms = learner(tiny_batch(strategy), 1.0)
    assert terms["checked/discriminator"].value.item() == pytest.approx(0.75 + 1.25)
    assert terms["checked/student"].value.item() == pytest.approx(-0.25)
    assert terms["checked/discriminator_right"].value.item() == 0.5  # all called labelled


@pytest.mark.parametrize("channel", [0, 1])
def test_discriminator_reads_image_and_segmentation(channel):
    discriminator = Adversarial().discriminator
    pair = torch.rand(1, 2, 16, 16, 16)
    other = pair.clone()
    other[:, channel] = torch.rand(16, 16, 16)
    assert not torch.allclose(discriminator(pair)[-1], discriminator(other)[-1])


def test_discriminator_learns_to_separate_two_kinds():
    torch.manual_seed(0)
    discriminator = Adversarial(channels=8).discriminator
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    smooth, rough = (
        torch.rand(4, 2, 1, 1, 1).expand(-1, -1, 16, 16, 16),
        torch.rand(4, 2, 16, 16, 16),
    )
    losses = []
    for _ in range(30):
        loss = adversarial.hinge_discriminator_loss(
            discriminator(smooth)[-1], discriminator(rough)[-1]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_masks_as_real_show_the_prediction_where_they_ignore():
    strategy = Adversarial(real="mask")
    learner = pixel_learner(strategy)
    batch = tiny_batch(strategy)
    mask = batch["labelled"]["mask"]
    mask[:, :, :3] = IGNORE
    shown = []
    strategy.discriminator.register_forward_hook(lambda net, args, out: shown.append(args[0]))
    learner(batch, 1.0)
    image, segmentation = shown[0].split(1, dim=1)
    assert torch.equal(image, batch["labelled"]["weak"])
    ignored = mask == IGNORE
    assert torch.equal(segmentation[~ignored], mask[~ignored].float())
    assert torch.equal(segmentation[ignored], torch.sigmoid(image[ignored]))


def test_masks_as_real_conform():
    check_strategy(lambda: Adversarial(real="mask"))


@pytest.mark.parametrize(("size", "layers"), [(12, 2), (6, 1), (24, 3)])
def test_crops_from_the_minimum_size_are_scored(size, layers):
    strategy = Adversarial(layers=layers, channels=4)
    assert strategy._score(torch.rand(1, 2, size, size, size)).isfinite().all()
    with pytest.raises(UserError, match=rf"crops of {size} voxels a side.*data\.crop"):
        strategy._score(torch.rand(1, 2, size, size, size - 1))


def test_discriminator_has_its_own_rate_and_no_buffers():
    strategy = Adversarial(discriminator_lr=0.3)
    ((parameters, factor),) = strategy.param_groups()
    assert factor == 0.3
    assert len(parameters) == len(list(strategy.parameters()))
    assert list(strategy.buffers()) == []


@pytest.mark.parametrize("options", [{"real": "scan"}, {"layers": 0}, {"discriminator_lr": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError, match="adversarial"):
        build_strategy("adversarial", options)


@pytest.mark.slow
def test_mixtures_conform():
    check_strategy(["supervised", "pseudo_label", "copy_paste", "cross_pseudo", "adversarial"])
