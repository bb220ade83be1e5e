"""Interpolation consistency: the formula, a batch of one, and the seed."""

import pytest
import torch
from pixel_nets import PixelNet, pixel_learner

from semilung.strategies import build_strategy
from semilung.strategies.interpolation_consistency import InterpolationConsistency
from semilung.types import UserError

GAIN, OFFSET = 3.0, -1.0


def answer(x):
    return torch.sigmoid(GAIN * x + OFFSET)


def loss(images):
    """The term, with a student that has moved away from its teacher."""
    learner = pixel_learner(InterpolationConsistency(), gain=GAIN, offset=OFFSET)
    learner.student.load_state_dict(PixelNet(1.0, 0.5).state_dict())
    term = learner({"unlabelled": {"weak": images}}, 1.0)["s/interpolation"]
    return learner, term.value


@pytest.fixture
def shares(monkeypatch):
    """λ of two samples."""
    fixed = torch.tensor([0.25, 0.6])
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self, shape: fixed[: shape[0]])
    return fixed.tolist()


def by_hand(shares):
    torch.manual_seed(0)
    u, v = torch.rand(2, 1, 4, 3, 2)[:, None]
    _, value = loss(torch.stack([u, v]))
    student = torch.sigmoid(torch.stack([a * x + (1 - a) * y + 0.5 for a, x, y in zip(
        shares, (u, v), (v, u), strict=True)]))  # fmt: skip
    target = torch.stack([a * answer(x) + (1 - a) * answer(y) for a, x, y in zip(
        shares, (u, v), (v, u), strict=True)])  # fmt: skip
    torch.testing.assert_close(value, (student - target).square().mean())


def test_equals_the_formula_with_the_share_fixed(shares):
    by_hand(shares)


def test_the_teacher_on_the_mix_is_caught(shares, monkeypatch):
    def terms(self, step):  # a plain mean teacher on mixed images: nothing is interpolated
        images = step.batch("unlabelled")["weak"]
        share = torch.distributions.Beta(0.2, 0.2).sample((len(images),)).view(-1, 1, 1, 1, 1)
        mixed = share * images + (1 - share) * images.roll(1, dims=0)
        nets = (step.student(mixed), step.teacher(mixed))
        student, teacher = (torch.sigmoid(out["logits"]) for out in nets)
        return {"interpolation": module.Term((student - teacher).square().mean())}

    from semilung.strategies import interpolation_consistency as module

    monkeypatch.setattr(InterpolationConsistency, "terms", terms)
    with pytest.raises(AssertionError):
        by_hand(shares)


def test_a_batch_of_one_is_mixed_with_its_mirror_image(shares):
    torch.manual_seed(0)
    u = torch.rand(1, 1, 4, 3, 2)
    learner, value = loss(u)
    mirrored = u.flip(-1)
    (mixed,) = learner.student.inputs
    torch.testing.assert_close(mixed, 0.25 * u + 0.75 * mirrored)
    target = 0.25 * answer(u) + 0.75 * answer(mirrored)
    torch.testing.assert_close(value, (torch.sigmoid(mixed + 0.5) - target).square().mean())
    (gain,) = torch.autograd.grad(value, learner.student.gain)
    assert gain != 0


def test_shares_come_from_the_seed_one_a_sample():
    images = torch.rand(3, 1, 4, 4, 4)
    mixes = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        learner, _ = loss(images)
        mixes += learner.student.inputs
    assert torch.equal(mixes[0], mixes[1])
    assert not torch.equal(mixes[0], mixes[2])
    other = images.roll(1, dims=0)
    used = [((m - o) / (i - o)).median() for m, i, o in zip(mixes[2], images, other, strict=True)]
    assert len({round(float(share), 4) for share in used}) == 3


def test_refuses_another_alpha():
    with pytest.raises(UserError, match="alpha"):
        build_strategy("interpolation_consistency", {"alpha": 0.0})
