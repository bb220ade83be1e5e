"""The mean teacher's loss, noise, mask and ramp, by hand on a net of single voxels."""

import math

import pytest
import torch
from pixel_nets import PixelNet

from semilung.strategies import Learner, build_strategy
from semilung.strategies.mean_teacher import MeanTeacher
from semilung.types import UserError


def learner(**options):
    """Student and teacher are the same net; its logit is the voxel."""
    return Learner(PixelNet(), {"mt": MeanTeacher(**options)}).train()


def batch(weak, strong):
    shape = (1, 1, -1, 1, 1)
    weak, strong = torch.tensor(weak).reshape(shape), torch.tensor(strong).reshape(shape)
    return {"unlabelled": {"weak": weak, "strong": strong, "case": ["a"]}}


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_the_student_sees_the_strong_view_and_the_teacher_the_weak_one():
    net = learner(noise=0.0)
    term = net(batch([0.0, 2.0], [1.0, -1.0]), 1.0)["mt/consistency"]
    by_hand = ((sigmoid(1) - 0.5) ** 2 + (sigmoid(-1) - sigmoid(2)) ** 2) / 2
    assert term.value.item() == pytest.approx(by_hand, rel=1e-5)
    for parameter in net.teacher.net.parameters():
        parameter.zero_()
    silent = net(batch([0.0, 2.0], [1.0, -1.0]), 1.0)["mt/consistency"]  # 0.5 everywhere
    by_hand = ((sigmoid(1) - 0.5) ** 2 + (sigmoid(-1) - 0.5) ** 2) / 2
    assert silent.value.item() == pytest.approx(by_hand, rel=1e-5)


def test_the_teachers_noise_is_normal_and_cut_at_two_sigma(monkeypatch):
    inputs = []
    strategy = MeanTeacher(noise=0.1)
    net = Learner(PixelNet(), {"mt": strategy}).train()
    net.teacher.register_forward_pre_hook(lambda _, images: inputs.append(images[0]))
    torch.manual_seed(0)
    weak = torch.full((1, 1, 40, 40, 40), 0.5)
    net({"unlabelled": {"weak": weak, "strong": weak}}, 1.0)
    noise = inputs[0] - weak
    assert noise.abs().max().item() == pytest.approx(0.2, abs=1e-6)
    assert (noise.abs() > 0.1999).float().mean().item() == pytest.approx(0.0455, abs=0.005)
    assert noise.std().item() == pytest.approx(0.096, abs=0.003)  # of a normal cut there


@pytest.mark.parametrize(("progress", "counted"), [(0.0, 1), (1.0, 3)])
def test_uncertain_voxels_count_after_the_threshold_has_grown(progress, counted):
    # entropies of p: 0.5 has all of ln 2, 0.35 has 0.934, 0.2 has 0.722 of it; the threshold
    # is 0.75 + 0.25 e^-5 = 0.752 at the start, and 1 at the end, which p = 0.5 just misses
    logits = [math.log(p / (1 - p)) for p in (0.2, 0.35, 0.4)]
    term = learner(noise=0.0, uncertainty_passes=3)(batch(logits, [0.0] * 3), progress)
    by_hand = sum((0.5 - p) ** 2 for p in (0.2, 0.35, 0.4)[:counted]) / counted
    assert term["mt/consistency"].value.item() == pytest.approx(by_hand, rel=1e-4)


def test_uncertainty_is_that_of_the_mean_of_several_noisy_passes():
    passes = []
    net = learner(noise=0.05, uncertainty_passes=4)
    net.teacher.register_forward_pre_hook(lambda _, images: passes.append(images[0]))
    net(batch([0.1, 0.2], [0.0, 0.0]), 0.5)
    assert len(passes) == 5  # one teaches
    assert len({tuple(images.flatten().tolist()) for images in passes}) == 5


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"weight": -1.0}, "weight must be finite and at least 0, got -1"),
        ({"weight": math.nan}, "got nan"),
        ({"weight": math.inf}, "got inf"),
        ({"rampup": 40.0}, r"share of the training in \[0, 1\], got 40"),
        ({"rampup": -0.1}, "got -0.1"),
        ({"noise": -0.1}, "must be 0 or more"),
        ({"uncertainty_passes": -2}, "must be 0 or more"),
    ],
)
def test_options_out_of_range_are_refused(options, word):
    with pytest.raises(UserError, match=word):
        build_strategy("mean_teacher", options)
