"""FocalMix: ensembles over mirrored views, sharpening, and mixed targets, by hand."""

import math

import pytest
import torch
from pixel_nets import PRIOR, CentreNet, peaks
from torch import nn

from semilung.losses import soft_focal_loss
from semilung.strategies import Learner, build_strategy
from semilung.strategies.core.learner import Step
from semilung.strategies.focal_mix import Crops, FocalMix
from semilung.types import UserError

NAN = float("nan")


class Corner(nn.Module):
    """Centre maps that see a centre in the first voxel of whatever they get."""

    def forward(self, x):
        maps = torch.zeros(len(x), 5, *(-(-n // 2) for n in x.shape[2:]))
        maps[:, :1] = math.log(0.1 / 0.9) - PRIOR
        maps[:, 0, 0, 0, 0] = math.log(0.9 / 0.1) - PRIOR
        return {"centres": maps}


def ensemble(net, images, flips):
    return FocalMix(flips=flips)._ensemble(Step({}, 1.0, net, net), images)


@pytest.mark.parametrize("flips", [1, 2, 4, 8])
def test_focal_mix_ensemble_mirrors_its_views_and_their_heatmaps_back(flips):
    heatmap = ensemble(Corner(), torch.zeros(1, 1, 4, 4, 4), flips)[0, 0]
    corners = [
        (0, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (1, 1, 0),
        (1, 0, 1),
        (0, 1, 1),
        (1,) * 3,
    ]
    for number, corner in enumerate(corners):
        share = 1 / flips if number < flips else 0
        assert heatmap[corner].item() == pytest.approx(0.9 * share + 0.1 * (1 - share))


class Lattice(nn.Module):
    """Centre maps whose probability is the mean of each 2x2x2 block of the image."""

    def forward(self, x):
        p = nn.functional.avg_pool3d(x, 2)
        return {
            "centres": torch.cat(
                [torch.logit(p) - PRIOR, torch.zeros_like(p.expand(-1, 4, -1, -1, -1))], 1
            )
        }


@pytest.mark.parametrize("size", [(4, 6, 8), (5, 6, 7)])
def test_focal_mix_ensemble_of_a_symmetric_net_is_its_own_heatmap(size):
    images = 0.1 + 0.8 * torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    one, all_ = (ensemble(Lattice(), images, flips) for flips in (1, 8))
    assert one.shape[2:] == tuple(-(-n // 2) for n in size)
    torch.testing.assert_close(one, all_)


def test_focal_mix_sharpening_by_hand():
    sharp = FocalMix(temperature=0.5)._sharpened(torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0]))
    assert sharp.tolist() == pytest.approx([0, 1 / 17, 0.5, 16 / 17, 1])
    same = torch.tensor([0.1, 0.7])
    torch.testing.assert_close(FocalMix(temperature=1.0)._sharpened(same), same)


def test_focal_mix_mixes_images_targets_and_weights_of_the_same_pairs(monkeypatch):
    monkeypatch.setattr(torch, "randperm", lambda n: torch.tensor([1, 2, 0]))
    shares = torch.tensor([0.9, 0.3, 0.5])
    beta = type("Fixed", (), {"__init__": lambda *_: None, "sample": lambda *_: shares})
    monkeypatch.setattr(torch.distributions, "Beta", beta)
    images = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1, 1)
    weight = torch.tensor([1.0, 1.0, 0.0]).view(3, 1, 1, 1, 1)
    mix = FocalMix()._mixed(Crops(images, images / 2, weight))
    # shares 0.9, 0.7 and 0.5 of the crop itself, the rest of the next one
    assert mix.images.flatten().tolist() == pytest.approx([0.1, 1.3, 1.0])
    torch.testing.assert_close(mix.heatmap, mix.images / 2)
    assert mix.weight.flatten().tolist() == [1, 0, 0]


def test_focal_mix_pairs_stay_together_where_they_are_drawn():
    images = torch.rand(16, 1, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    mix = FocalMix(mixing=5.0)._mixed(Crops(images, images / 2, torch.ones_like(images)))
    torch.testing.assert_close(mix.heatmap, mix.images / 2)
    assert (mix.images != images).flatten(1).any(dim=1).sum() > 8


def batch(labelled, unlabelled):
    """A step of a labelled crop without nodules, and an unlabelled one."""
    spacing_mm = torch.ones(1, 3)
    return {
        "labelled": {
            "weak": labelled,
            "nodules": torch.full((1, 1, 5), NAN),
            "spacing_mm": spacing_mm,
        },
        "unlabelled": {"weak": unlabelled, "spacing_mm": spacing_mm},
    }


def test_focal_mix_terms_are_soft_focal_losses_by_hand(monkeypatch):
    monkeypatch.setattr(torch, "randperm", torch.arange)  # each crop is mixed with itself
    labelled, unlabelled = peaks((2, 2, 2, 0.6)), peaks((8, 8, 8, 0.8))
    strategy = FocalMix(flips=1, temperature=0.5, weight=0.3, rampup=0, alpha=0.9, gamma=1)
    terms = Learner(CentreNet(), {"s": strategy})(batch(labelled, unlabelled), 1.0)
    z = labelled[..., ::2, ::2, ::2]
    healthy = soft_focal_loss(z, torch.zeros_like(z), alpha=0.9, gamma=1)
    torch.testing.assert_close(terms["s/labelled"].value, healthy)
    z = unlabelled[..., ::2, ::2, ::2]
    p = z.sigmoid()
    target = p**2 / (p**2 + (1 - p) ** 2)
    torch.testing.assert_close(
        terms["s/unlabelled"].value, soft_focal_loss(z, target, alpha=0.9, gamma=1)
    )
    assert {term.weight for term in terms.values()} == {0.3}


def test_focal_mix_teacher_labels_and_the_student_learns():
    strategy = FocalMix()
    learner = Learner(CentreNet(), {"s": strategy})
    passes = []
    learner.teacher.register_forward_pre_hook(lambda _, images: passes.append(images[0]))
    terms = learner(batch(peaks(), peaks((8, 8, 8, 0.8))), 1.0)
    terms["s/unlabelled"].value.backward()
    assert len(passes) == 4
    assert len(learner.student.inputs) == 1  # of all mixed crops at once
    assert learner.student.inputs[0].shape[0] == 2
    assert learner.student.gain.grad != 0


@pytest.mark.parametrize(
    "options",
    [
        *({"flips": 0}, {"flips": 9}, {"temperature": 0.0}, {"temperature": 1.1}),
        *({"mixing": 0.0}, {"alpha": -0.1}, {"gamma": 0.5}, {"weight": -1.0}),
    ],
)
def test_focal_mix_options_out_of_range_are_errors_of_the_user(options):
    with pytest.raises(UserError, match=f"focal_mix.*{next(iter(options))}"):
        build_strategy("focal_mix", options)
