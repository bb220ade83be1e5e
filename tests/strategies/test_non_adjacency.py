"""Non-adjacency constraint: composition, prior, schedules, checkpoint score, memory, errors."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from semilung.data import Case
from semilung.losses import count_adjacency, non_adjacency_loss, soft_adjacency
from semilung.strategies import Learner
from semilung.strategies.core.joint_classes import compose_known, compose_predicted, named_labels
from semilung.strategies.non_adjacency.anatomy_prior import (
    allowed_pairs,
    contacts,
    forbid,
    read_contacts,
)
from semilung.strategies.non_adjacency.constraint import NonAdjacency
from semilung.strategies.non_adjacency.weight_controller import LambdaControl
from semilung.testing import check_strategy, tiny_batch, tiny_learner
from semilung.types import UserError

LUNG, WALL, BONE, NODULE = 1, 2, 3, 4


class Drawn:
    """A prepared case of given label volumes; what it lacks cannot be read."""

    name = "drawn"

    def __init__(self, role, **volumes):
        self.case = Case(self.name, self.name, Path("x"), role)
        self.files = dict.fromkeys(volumes, Path("x"))
        self._volumes = volumes

    def read(self, field):
        return self._volumes[field]


def chest(nodule_at=None):
    """Lung, wall, bone in layers of a column, six voxels long; the nodule is one voxel of it."""
    anatomy = np.array([LUNG, LUNG, LUNG, WALL, BONE, BONE], np.uint8)[:, None, None]
    mask = np.zeros_like(anatomy)
    if nodule_at is not None:
        mask[nodule_at] = 7  # an instance's number
    return anatomy, mask


def labelled(nodule_at):
    anatomy, mask = chest(nodule_at)
    return Drawn("labelled", anatomy=anatomy, mask=mask)


def healthy():
    return Drawn("healthy", anatomy=chest()[0])


def learn(streams, **options):
    """The forbidden pairs, as sets of two class numbers."""
    strategy = NonAdjacency(**{"classes": 4, "min_cases": 1, **options})
    strategy.before_training(streams)
    assert torch.equal(strategy.forbidden, strategy.forbidden.T)
    return {(i, j) for i, j in strategy.forbidden.nonzero().tolist() if i <= j}


def test_the_composition_is_a_distribution_of_known_anatomy_and_nodule():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand((2, 1, 3, 4, 2), generator=generator)
    anatomy = torch.randint(0, 5, p.shape, generator=generator).to(torch.uint8)
    hot = torch.nn.functional.one_hot(anatomy[:, 0].long(), 5).movedim(-1, 1)
    probs = compose_known(p, anatomy, 5)
    torch.testing.assert_close(probs, torch.cat([hot * (1 - p), p], dim=1))
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(2, 3, 4, 2))
    logits = torch.randn((2, 5, 3, 4, 2), generator=generator)
    expected = torch.cat([logits.softmax(dim=1) * (1 - p), p], dim=1)
    torch.testing.assert_close(compose_predicted(p, logits), expected)


def test_unknown_voxels_neither_touch_nor_are_touched():
    p = torch.full((1, 1, 1, 1, 5), 0.5, requires_grad=True)
    anatomy = torch.tensor([1, 255, 2, 9, 0]).view(1, 1, 1, 1, 5)
    labels = named_labels(anatomy, [0])
    probs = compose_known(p, labels, 3)
    assert probs[0, :, 0, 0, [1, 3, 4]].abs().sum() == 0
    assert 27 * 5 * soft_adjacency(probs)[1, 2] == 0  # 1 and 2 are apart by the unknown voxel
    forbidden = torch.ones(4, 4, dtype=torch.bool)
    (slope,) = torch.autograd.grad(non_adjacency_loss(probs, forbidden), [p])
    assert (slope.flatten() != 0).tolist()[1::2] == [False, False]
    assert anatomy.flatten().tolist() == [1, 255, 2, 9, 0]


def test_a_pair_with_a_nodule_costs_what_the_hand_counts():
    # two voxels, lung and bone: p = 0.5 in the lung, 0.2 on the bone
    p = torch.tensor([0.5, 0.2]).view(1, 1, 2, 1, 1)
    anatomy = torch.tensor([LUNG, BONE]).view(1, 1, 2, 1, 1)
    adjacency = 2 * 27 * soft_adjacency(compose_known(p, anatomy, 4))
    # the bone's voxel is next to both voxels: (0.5 + 0.2) * 0.8
    assert adjacency[NODULE, BONE].item() == pytest.approx(0.56)
    assert adjacency[NODULE, LUNG].item() == pytest.approx(0.35)


def test_the_prior_of_a_toy_chest_by_hand():
    counts = contacts(*chest(nodule_at=1), 4)
    # column: lung nodule lung wall bone bone
    assert counts[NODULE].tolist() == [0, 3, 0, 0, 0]  # two next to it, one under it
    assert counts[LUNG].tolist() == [0, 0, 1, 0, 3]
    assert counts[BONE].tolist() == [0, 0, 1, 2, 0]
    streams = {"healthy": [healthy()], "labelled": [labelled(1)]}
    assert learn(streams) == {(LUNG, BONE), (WALL, NODULE), (BONE, NODULE)}
    # one labelled case whose nodule is at the wall is enough to allow it
    streams["labelled"].append(labelled(2))
    assert learn(streams) == {(LUNG, BONE), (BONE, NODULE)}


def test_what_the_anatomy_names_under_a_nodule_may_touch_it():
    anatomy = np.full((5, 1, 1), LUNG, np.uint8)
    anatomy[1:4] = BONE  # a nodule that thresholds took for bone
    mask = np.zeros_like(anatomy)
    mask[1:4] = 1
    counts = contacts(anatomy, mask, 4)
    assert counts[NODULE, BONE] == counts[BONE, NODULE] == 3
    assert counts[NODULE, LUNG] == 2


def test_unknown_anatomy_and_unknown_mask_count_for_nothing():
    anatomy, mask = chest(nodule_at=1)
    mask[2] = 255
    anatomy[5] = 255
    anatomy[0] = 0
    counts = contacts(anatomy, mask, 4, unlabelled=[0])
    assert counts[0].sum() == 0
    assert counts[NODULE].tolist() == [0, 1, 0, 0, 0]  # what lies under it
    assert counts[BONE].tolist() == [0, 0, 1, 0, 0]
    assert contacts(anatomy, mask, 4)[0].tolist() == [0, 0, 0, 0, 1]


def test_only_labelled_masks_and_no_other_streams_are_read():
    anatomy, mask = chest(nodule_at=3)  # a mask that would allow wall and bone
    poisoned = Drawn("healthy", anatomy=anatomy, mask=mask)
    never = {stream: [Drawn(stream)] for stream in ("weak", "unlabelled")}
    for cases in never.values():
        cases[0].files = {"anatomy": Path("x"), "mask": Path("x")}  # reading them fails
    streams = {"healthy": [poisoned], "labelled": [labelled(1)], **never}
    assert learn(streams) == {(LUNG, BONE), (WALL, NODULE), (BONE, NODULE)}


def test_a_pair_needs_min_cases_that_hold_both():
    streams = {"healthy": [healthy(), healthy()], "labelled": [labelled(1)]}
    assert (BONE, NODULE) not in learn(streams, min_cases=2, anatomy="predicted")
    assert learn(streams, min_cases=2, anatomy="predicted") == {(LUNG, BONE)}
    with pytest.raises(UserError, match=r"one of them the nodule.*min_cases"):
        learn(streams, min_cases=2)
    streams["labelled"].append(labelled(1))
    assert (BONE, NODULE) in learn(streams, min_cases=2)


def test_the_tolerance_is_a_share_of_the_rarer_class():
    cases = [torch.tensor([[50, 8, 2], [8, 90, 98], [2, 98, 9]])]
    # outer contacts: 10, 106, 100; shares: 0-1 0.8, 0-2 0.2, 1-2 0.98
    assert not forbid(cases, min_cases=1, tolerance=0.19).any()
    assert forbid(cases, min_cases=1, tolerance=0.2).nonzero().tolist() == [[0, 2], [2, 0]]
    # one case above the tolerance allows the pair
    cases.append(torch.tensor([[50, 8, 3], [8, 90, 98], [3, 98, 9]]))
    assert not forbid(cases, min_cases=1, tolerance=0.2).any()


def test_no_class_is_forbidden_to_touch_itself():
    lonely = torch.tensor([[0, 5, 0], [5, 0, 0], [0, 0, 4]])
    forbidden = forbid([lonely], min_cases=1, tolerance=0)
    assert not forbidden.diagonal().any()
    assert forbidden.nonzero().tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]


def test_pairs_are_allowed_by_name_and_number():
    assert allowed_pairs(["nodule-vessel", "2 - 7"], 7) == [(7, 3), (2, 7)]
    for wrong in ("nodule", "nodule-heart", "nodule-vessel-bone", "7-9"):
        with pytest.raises(ValueError, match="nodule-vessel"):
            allowed_pairs([wrong], 7)
    streams = {"labelled": [labelled(1)]}
    assert learn(streams, allow=["4-2"]) == {(LUNG, BONE), (BONE, NODULE)}
    with pytest.raises(UserError, match="have no effect"):
        learn(streams, allow=["4-2", "nodule-3"])


def test_anatomy_that_is_missing_or_outside_the_classes_is_refused():
    with pytest.raises(UserError, match="semilung data anatomy"):
        learn({"unlabelled": [healthy()], "labelled": [Drawn("labelled", mask=chest()[1])]})
    with pytest.raises(UserError, match=r"labels \[3\].*classes=3"):
        learn({"healthy": [healthy()]}, classes=3)
    strategy = NonAdjacency()
    learner = Learner(torch.nn.Identity(), {"non_adjacency": strategy})
    with pytest.raises(UserError, match="anatomy"):
        learner.require_anatomy({"labelled": [Drawn("labelled", mask=chest()[1])]})


def test_the_prior_reads_at_most_so_many_cases_of_a_stream():
    streams = {"healthy": [healthy() for _ in range(10)], "labelled": [labelled(1)]}
    assert len(read_contacts(streams, 4, unlabelled=[0], limit=4)) == 4 + 1
    assert len(read_contacts(streams, 4, unlabelled=[0], limit=50)) == 11


class Scripted(torch.nn.Module):
    """A student that says the image, as a logit; its anatomy is undecided."""

    def __init__(self, classes=7):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(()))
        self.tissues = torch.nn.Parameter(torch.zeros(1, classes, 1, 1, 1))

    def forward(self, x):
        return {"logits": x + self.bias, "anatomy": 0 * x + self.tissues}


def scripted(**options):
    """A learner whose nodules may not touch bone (4 of seven classes)."""
    strategy = NonAdjacency(**options)
    strategy.forbidden[7, 4] = strategy.forbidden[4, 7] = True
    return Learner(Scripted(), {"checked": strategy}), strategy


def crops(tissue, *, size=2, logit=0.0, mask=0):
    shape = (size, 1, 3, 3, 3)
    return {
        "weak": torch.full(shape, logit),
        "anatomy": torch.full(shape, tissue, dtype=torch.uint8),
        "mask": torch.full(shape, mask, dtype=torch.uint8),
    }


def test_the_term_is_a_mean_over_samples_of_all_streams_that_have_anatomy():
    learner, _ = scripted()
    on_bone, in_lung = crops(4, size=1), crops(1, size=3)
    without = {"weak": torch.zeros(2, 1, 3, 3, 3)}
    alone = learner({"healthy": on_bone}, 1.0)["checked/contact"].value
    both = learner({"healthy": on_bone, "unlabelled": in_lung, "weak": without}, 1.0)
    # 27 voxels see 343 pairs, a quarter of each is nodule next to bone
    assert alone.item() == pytest.approx(343 / 27 / 27 / 4)
    assert both["checked/contact"].value.item() == pytest.approx(alone.item() / 4)


def test_the_constraint_lowers_nodules_over_bone_only():
    learner, _ = scripted()
    slopes = {}
    for tissue in (1, 4, 255, 0):
        image = crops(tissue)
        image["weak"].fill_(-2.0).requires_grad_()
        (slopes[tissue],) = torch.autograd.grad(
            learner({"healthy": image}, 1.0)["checked/contact"].value, [image["weak"]]
        )
    assert (slopes[4] > 0).all()
    assert all((slopes[tissue] == 0).all() for tissue in (1, 255, 0))


def test_contacts_within_the_known_anatomy_teach_nothing():
    """They could only raise p, which hides them."""
    learner, strategy = scripted()
    strategy.forbidden[1, 4] = strategy.forbidden[4, 1] = True  # lung and bone
    image = crops(1)
    image["anatomy"][:, :, 1:] = 4
    image["weak"].fill_(-9.0).requires_grad_()
    value = learner({"healthy": image}, 1.0)["checked/contact"].value
    (slope,) = torch.autograd.grad(value, [image["weak"]])
    assert (slope >= 0).all()
    strategy.predicted = True
    assert strategy._pairs().sum() == 4


def test_the_predicted_head_learns_known_tissues_and_takes_part():
    learner, _ = scripted(anatomy="predicted", anatomy_weight=0.5)
    image = crops(4)
    image["anatomy"][:, :, 0] = 255
    image["anatomy"][:, :, 1] = 0
    terms = learner({"healthy": image, "weak": {"weak": torch.zeros(1, 1, 3, 3, 3)}}, 1.0)
    assert terms["checked/anatomy"].value.item() == pytest.approx(math.log(7))
    assert terms["checked/anatomy"].weight == 0.5
    tissues = learner.student.tissues
    (slope,) = torch.autograd.grad(terms["checked/anatomy"].value, [tissues], retain_graph=True)
    assert (slope.flatten() < 0).tolist() == [k == 4 for k in range(7)]
    (slope,) = torch.autograd.grad(terms["checked/contact"].value, [tissues])
    assert slope.flatten()[4] > 0  # less bone about a nodule is less contact


def test_a_predicted_anatomy_conforms():
    check_strategy(lambda: NonAdjacency(anatomy="predicted"))


def test_the_weight_ramps_up():
    learner, _ = scripted(weight=4.0, rampup=0.5)
    weights = [learner({"healthy": crops(4)}, t)["checked/contact"].weight for t in (0, 0.25, 1)]
    assert weights == pytest.approx([4 * math.exp(-5), 4 * math.exp(-1.25), 4])


def test_the_published_schedule_measures_first_and_then_follows_the_controller():
    learner, strategy = scripted(schedule="published")
    # a nodule is seen in 1 of the 2 labelled crops: Dice 1 and 0, and the third has none
    labelled = crops(4, size=3, mask=1)
    labelled["weak"][0], labelled["weak"][1:], labelled["mask"][2] = 5.0, -5.0, 0
    labelled["mask"][0, 0, 0, 0, 0] = 255
    batch = {"labelled": labelled, "healthy": crops(4)}
    values = []
    for _ in range(3):
        term = learner(batch, 0.1)["checked/contact"]
        assert term.weight == 0
        values.append(term.value.item())
        learner.after_step(0.1)
    assert strategy.score({"val/dice": 0.6}) == pytest.approx(-values[0])
    learner.after_validation({"val/dice": 0.6})
    expected = 0.3 * 0.5 / values[0]
    assert learner(batch, 0.2)["checked/contact"].weight == pytest.approx(expected, rel=1e-5)
    # the validation has closed its interval: what counts now is a step without contact
    learner({"healthy": crops(1)}, 0.2)
    learner.after_step(0.2)
    assert strategy.score({"val/dice": 0.5951}) == pytest.approx(0)
    assert strategy.score({"val/dice": 0.5949}) == -math.inf
    for _ in range(5):
        learner.after_validation({"val/dice": 0.6})
    assert learner(batch, 0.3)["checked/contact"].weight == pytest.approx(1.3 * expected, rel=1e-5)


def test_controller_and_interval_are_saved():
    learner, _ = scripted(schedule="published")
    batch = {"labelled": crops(4, logit=1.0, mask=1)}
    learner(batch, 0.1)
    learner.after_step(0.1)
    fresh, strategy = scripted(schedule="published")
    strategy.forbidden.zero_()
    fresh.load_state_dict(learner.state_dict())
    for each in (learner, fresh):
        each.after_validation({"val/dice": 0.5})
        each.after_step(0.1)
    assert strategy.forbidden.sum() == 2
    weights = [each(batch, 0.2)["checked/contact"].weight for each in (learner, fresh)]
    assert weights[0] == weights[1] > 0
    assert LambdaControl.restore(strategy.control.tolist()).reference == 0.5


def test_the_ramp_leaves_the_choice_to_dice():
    learner, strategy = scripted()
    learner({"healthy": crops(4)}, 0.1)
    learner.after_step(0.1)
    assert strategy.score({"val/dice": 0.5}) is None
    assert learner.score({"val/dice": 0.5}, 0.5) == 0.5


def test_ten_classes_need_one_activation_of_all_classes_and_its_gradient():
    """Nothing else of their size is held: no one-hot, no box means, no product."""
    strategy = NonAdjacency(classes=9, weight=1.0)
    strategy.forbidden[9, 4] = strategy.forbidden[4, 9] = True
    learner = Learner(Scripted(9), {"checked": strategy})
    shape = (1, 1, 32, 32, 32)
    anatomy = torch.randint(0, 9, shape, dtype=torch.uint8)
    batch = {"healthy": {"weak": torch.zeros(shape), "anatomy": anatomy}}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        learner(batch, 1.0)["checked/contact"].value.backward()
    live = peak = 0
    events = trace.profiler.kineto_results.events()
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    activation = 10 * 32**3 * 4
    assert peak < 4 * activation, peak / activation


def test_the_kits_prior_is_what_its_chests_show():
    learner = tiny_learner(NonAdjacency)
    forbidden = learner.strategies["checked"].forbidden
    # lung (1) never meets bone (4), nor does the nodule (7), which does not meet soft tissue either
    assert forbidden.nonzero().tolist() == [[1, 4], [4, 1], [4, 7], [5, 7], [7, 4], [7, 5]]
    batch = tiny_batch(learner.strategies["checked"])
    assert learner(batch, 1.0)["checked/contact"].value > 0
    counts = count_adjacency(batch["healthy"]["anatomy"][:, 0], 8)
    assert counts[forbidden[:8, :8]].sum() == 0


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "cosine"},
        {"anatomy": "guessed"},
        {"classes": 1},
        {"min_cases": 0},
        {"tolerance": 1.0},
        {"prior_cases": 0},
        {"allow": ["nodule"]},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        NonAdjacency(**options)
