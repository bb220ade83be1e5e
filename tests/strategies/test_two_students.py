"""Cross pseudo supervision: two students, their initial weights and gradients."""

import copy
import math
from functools import partial

import pytest
import torch
from pixel_nets import CentreNet, PixelNet, peaks

from semilung.config.compose import Composer
from semilung.losses import probabilities, pseudo_label_loss
from semilung.strategies import Learner
from semilung.strategies.centre_detection import CentreDetection
from semilung.strategies.core.centre_maps import CENTRES, SIZE
from semilung.strategies.cross_pseudo import CrossPseudo
from semilung.strategies.supervised import Supervised
from semilung.testing import check_strategy, tiny_batch, tiny_learner, tiny_student


def pixel_pair(strategy, *, second=(-1.0, 0.2)):
    """A learner of two pixel nets that disagree about most voxels."""
    return Learner(PixelNet(2.0, -1.0), {"s": strategy}, make_student=lambda: PixelNet(*second))


def gradients(term, net):
    return torch.autograd.grad(term, list(net.parameters()), allow_unused=True, retain_graph=True)


def expected(net, other, x):
    """Each net against the other's hard labels, as if the other were no net at all."""
    targets = probabilities(other(x)["logits"]).detach()
    return pseudo_label_loss(net(x)["logits"], targets, threshold=0.0)


def crosses_no_gradient():
    strategy = CrossPseudo()
    learner, batch = pixel_pair(strategy), tiny_batch(strategy)
    value = learner(batch, 1.0)["s/unlabelled"].value
    x = batch["unlabelled"]["weak"]
    for net, other in ((learner.student, strategy.second), (strategy.second, learner.student)):
        actual, wanted = gradients(value, net), gradients(expected(net, other, x), net)
        for one, two in zip(actual, wanted, strict=True):
            torch.testing.assert_close(one, two)


def test_each_learns_as_if_the_others_labels_were_given():
    crosses_no_gradient()


def test_soft_targets_without_detach_are_caught(monkeypatch):
    def soft(a, b):
        p, q = probabilities(a), probabilities(b)
        cross = torch.nn.functional.binary_cross_entropy
        return cross(p, q) + cross(q, p)

    monkeypatch.setattr("semilung.strategies.cross_pseudo.cross_pseudo_loss", soft)
    with pytest.raises(AssertionError):
        crosses_no_gradient()


def differ():
    learner = tiny_learner(CrossPseudo)
    pairs = zip(
        learner.student.parameters(),
        learner.strategies["checked"].second.parameters(),
        strict=True,
    )
    assert any(not torch.equal(one, two) for one, two in pairs), "the students are twins"


def test_the_students_start_apart():
    differ()


def test_students_with_equal_weights_are_caught(monkeypatch):
    def twin(self, make_student):
        self.second = tiny_student(heads={CENTRES: SIZE})

    monkeypatch.setattr(CrossPseudo, "attach", twin)
    with pytest.raises(AssertionError, match="twins"):
        differ()


@pytest.mark.parametrize("stream", ["labelled", "healthy"])
def test_the_second_learns_the_base_as_the_first_does(stream):
    options = {"ce_weight": 0.7, "healthy_weight": 0.3, "healthy_hardest": 0.2}
    cross = CrossPseudo(base=options)
    student = tiny_student()
    strategies = {"supervised": Supervised(**options), "cross_pseudo": cross}
    twin = partial(copy.deepcopy, student)
    learner = Learner(student, strategies, make_student=twin)
    terms = learner(tiny_batch(cross), 1.0)
    first, second = terms[f"supervised/{stream}"], terms[f"cross_pseudo/second_{stream}"]
    assert first == second
    for one, two in zip(
        gradients(first.value, student), gradients(second.value, cross.second), strict=True
    ):
        torch.testing.assert_close(one, two)
    assert all(g is None for g in gradients(second.value, student))


def test_labelled_crops_can_be_left_to_the_masks():
    strategy = CrossPseudo(labelled=False)
    terms = pixel_pair(strategy)(tiny_batch(strategy), 1.0)
    assert set(terms) == {"s/unlabelled", "s/second_labelled", "s/second_healthy"}


def test_the_first_predicts_and_both_are_trained_and_saved():
    learner = pixel_pair(CrossPseudo())
    assert learner.predictor is learner.student
    grouped = [p for group, _ in learner.param_groups() for p in group]
    assert len(grouped) == 4
    assert "strategies.s.second.gain" in learner.state_dict()


def test_without_labelled_crossing_it_conforms():
    check_strategy(lambda: CrossPseudo(labelled=False), tasks=("segmentation",))


def centre_pair(strategy):
    """A learner of two nets, of which one sees the even voxels of an image, the other the odd."""
    return Learner(CentreNet(), {"s": strategy}, make_student=lambda: CentreNet(odd=True))


def test_cross_pseudo_centres_of_each_are_the_labels_of_the_other_by_hand():
    strategy = CrossPseudo(labelled=False, weight=0.5, rampup=0)
    learner = centre_pair(strategy)
    image = peaks((2, 2, 2, 0.9), (3, 3, 3, 0.05), (12, 12, 12, 0.05), (13, 13, 13, 0.9))
    batch = {"weak": image, "spacing_mm": torch.ones(1, 3)}
    known = {**batch, "nodules": torch.full((1, 1, 5), float("nan"))}
    terms = learner({"unlabelled": batch, "labelled": known}, 1.0)
    assert set(terms) == {
        *("s/centre_unlabelled", "s/second_centre_labelled"),
        *("s/second_centre_offset", "s/second_centre_diameter"),
    }
    assert terms["s/centre_unlabelled"].weight == 0.5
    terms["s/centre_unlabelled"].value.backward()
    one, two = learner.student.outputs[-1].grad[0, 0], strategy.second.outputs[0].grad[0, 0]
    # each has a centre where the other has a peak, and is background at its own
    assert one[6, 6, 6] < 0 < one[1, 1, 1]
    assert two[1, 1, 1] < 0 < two[6, 6, 6]
    # at p = 0.05: d/dz -(1 - p)^2 ln p = 2 p (1 - p)^2 ln p - (1 - p)^3
    by_hand = 2 * 0.05 * 0.95**2 * math.log(0.05) - 0.95**3
    assert one[6, 6, 6].item() == pytest.approx(by_hand, rel=1e-4)
    assert two[1, 1, 1].item() == pytest.approx(by_hand, rel=1e-4)


def test_cross_pseudo_second_learns_the_base_of_detection_as_the_first_does():
    cross = CrossPseudo(centre_base={"offset_weight": 0.5, "healthy_weight": 0.3})
    student = tiny_student(heads={CENTRES: SIZE}, logits=False)
    base = CentreDetection(offset_weight=0.5, healthy_weight=0.3)
    strategies = {"centre_detection": base, "cross_pseudo": cross}
    learner = Learner(student, strategies, make_student=partial(copy.deepcopy, student))
    terms = learner(tiny_batch(base, cross), 1.0)
    for name in ("labelled", "offset", "diameter", "healthy"):
        assert terms[f"centre_detection/{name}"] == terms[f"cross_pseudo/second_centre_{name}"]


@pytest.mark.parametrize("tasks", ["segmentation", "detection", "[segmentation,detection]"])
def test_cross_pseudo_config_has_the_base_options_of_the_active_tasks(tasks):
    words = [f"tasks={tasks}", "strategy=cross_pseudo", "data.manifest=x.csv"]
    strategies = Composer().command(words).strategies
    options = strategies["cross_pseudo"]
    assert options["base"] == strategies.get("supervised")
    assert options["centre_base"] == strategies.get("centre_detection")
    assert (options["base"] is None) == ("segmentation" not in tasks)
    assert (options["centre_base"] is None) == ("detection" not in tasks)


def test_cross_pseudo_reads_the_fields_of_the_active_tasks():
    def fields(*tasks):
        return Learner(
            tiny_student(), {"s": CrossPseudo()}, tasks=tasks, make_student=tiny_student
        ).fields()

    assert fields("segmentation") == ("mask",)
    assert fields("detection") == ("nodules", "spacing_mm")
    assert fields("segmentation", "detection") == ("mask", "nodules", "spacing_mm")
