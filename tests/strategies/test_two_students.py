"""Cross pseudo supervision: two students, their initial weights and gradients."""

import copy
from functools import partial

import pytest
import torch
from pixel_nets import PixelNet

from semilung.losses import probabilities, pseudo_label_loss
from semilung.strategies import Learner
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
        self.second = tiny_student()

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
    check_strategy(lambda: CrossPseudo(labelled=False))
