"""Bidirectional copy-paste: boxes, labels of each part, and several nodules."""

import pytest
import torch
from pixel_nets import pixel_learner
from scipy import ndimage

from semilung.losses import dice_ce_loss, hard_labels
from semilung.strategies import build_strategy
from semilung.strategies.copy_paste import CopyPaste, random_box
from semilung.types import IGNORE, UserError

SIZE = (9, 8, 7)


def crops(labelled=1, unlabelled=1):
    """Labelled crops below 0.5 (so no pixel net finds anything); unlabelled with two nodules."""
    torch.manual_seed(3)
    x_l = 0.3 * torch.rand(labelled, 1, *SIZE)
    mask = (torch.rand(labelled, 1, *SIZE) > 0.8).to(torch.uint8)
    x_u = 0.3 * torch.rand(unlabelled, 1, *SIZE)
    x_u[:, :, 1:3, 1:3, 1:3] = 0.9
    x_u[:, :, 6:8, 5:8, 4:6] = 0.8
    return {
        "labelled": {"weak": x_l, "mask": mask},
        "unlabelled": {"weak": x_u, "mask": torch.full_like(mask[:1], 77)},
    }


@pytest.fixture
def targets(monkeypatch):
    """The targets that the loss is requests about, in order: labelled part, then pseudo part."""
    requests = []

    def record(logits, target, **options):
        requests.append(target)
        return dice_ce_loss(logits, target, **options)

    monkeypatch.setattr("semilung.strategies.copy_paste.dice_ce_loss", record)
    return requests


def step(batch, **options):
    learner = pixel_learner(CopyPaste(**options), gain=20.0, offset=-10.0)
    terms = learner(batch, 1.0)
    return learner, terms


def both_halves(parts, pairs):
    """Of a part of both mixes, the whole crop: each of its voxels is in one mix alone."""
    inward, outward = parts[:pairs], parts[pairs:]
    assert ((inward == IGNORE) != (outward == IGNORE)).all()
    return torch.where(inward == IGNORE, outward, inward)


def keeps_every_nodule(targets):
    batch = crops()
    step(batch)
    pseudo = both_halves(targets[1], 1)
    assert torch.equal(pseudo, (batch["unlabelled"]["weak"] > 0.5).to(pseudo.dtype))
    assert ndimage.label(pseudo[0, 0].numpy())[1] == 2, "a nodule is lost"


def test_both_nodules_of_a_pseudo_label_are_taught(targets):
    keeps_every_nodule(targets)


def test_the_largest_component_alone_is_caught(targets, monkeypatch):
    def largest(probs):
        numbered, _ = ndimage.label(hard_labels(probs)[0, 0].numpy())
        sizes = torch.bincount(torch.from_numpy(numbered).flatten().long())[1:]
        return torch.from_numpy(numbered == int(sizes.argmax()) + 1)[None, None].long()

    monkeypatch.setattr("semilung.strategies.copy_paste.hard_labels", largest)
    with pytest.raises(AssertionError):
        keeps_every_nodule(targets)


def test_voxels_that_the_teacher_is_unsure_of_are_ignored(targets):
    batch = crops()
    step(batch, threshold=0.999)
    p = torch.sigmoid(20 * batch["unlabelled"]["weak"] - 10)
    pseudo = torch.minimum(*targets[1])  # of the mixes, the one that holds it; IGNORE is high
    assert torch.equal(pseudo == 1, (p >= 0.999)[0])  # the nodule of 0.9, not that of 0.8
    assert torch.equal(pseudo == 0, (p <= 0.001)[0])
    assert torch.equal(both_halves(targets[0], 1), batch["labelled"]["mask"])


def test_each_voxel_keeps_the_label_of_the_crop_it_came_from(targets):
    batch = crops()
    learner, _ = step(batch)
    masks, pseudo_labels = targets
    (images,) = learner.student.inputs
    x_l, x_u = batch["labelled"]["weak"], batch["unlabelled"]["weak"]
    from_l = masks != IGNORE
    assert torch.equal(from_l, pseudo_labels == IGNORE)
    assert torch.equal(images, torch.where(from_l, x_l, x_u))
    assert torch.equal(both_halves(masks, 1), batch["labelled"]["mask"])


def test_the_inward_mix_has_the_unlabelled_crop_in_the_box(targets):
    step(crops())
    inside = targets[0][0, 0] == IGNORE
    assert inside.sum() == 6 * 5 * 5  # two thirds of 9, 8 and 7


def test_what_masks_ignore_stays_ignored(targets):
    batch = crops()
    batch["labelled"]["mask"].fill_(IGNORE)
    _, terms = step(batch)
    assert (targets[0] == IGNORE).all()
    assert terms["s/labelled"].value == 0


@pytest.mark.parametrize(("labelled", "unlabelled"), [(3, 1), (2, 3), (1, 2)])
def test_the_shorter_stream_goes_round(targets, labelled, unlabelled):
    batch = crops(labelled, unlabelled)
    learner, _ = step(batch)
    pairs = max(labelled, unlabelled)
    (images,) = learner.student.inputs
    assert len(images) == 2 * pairs
    masks = batch["labelled"]["mask"]
    wanted = torch.stack([masks[i % labelled] for i in range(pairs)])
    assert torch.equal(both_halves(targets[0], pairs), wanted)


def test_weights_of_the_two_parts():
    _, terms = step(crops(), weight=0.8, unlabelled_weight=0.25)
    assert terms["s/labelled"].weight == pytest.approx(0.8)
    assert terms["s/unlabelled"].weight == pytest.approx(0.2)


def test_boxes_of_any_crop_lie_inside_and_move():
    torch.manual_seed(0)
    for size in ((16, 16, 16), (7, 33, 5), (2, 2, 2)):
        around = random_box(torch.zeros(20, 1, *size), 2 / 3)
        inside = (~around).flatten(1)
        assert inside.sum(1).unique().numel() == 1
        assert inside.any()
        starts = {int(box.nonzero()[0]) for box in inside}
        assert len(starts) > 1
        torch.manual_seed(0)


def test_places_come_from_the_seed():
    one, two = (
        random_box(torch.manual_seed(s) and torch.zeros(4, 1, 12, 12, 12), 0.5) for s in (1, 1)
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize("box", [0.0, 1.0])
def test_refuses_a_box_that_leaves_nothing(box):
    with pytest.raises(UserError, match="box"):
        build_strategy("copy_paste", {"box": box})


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_refuses_a_threshold_that_is_no_probability(threshold):
    with pytest.raises(UserError, match="threshold"):
        build_strategy("copy_paste", {"threshold": threshold})
