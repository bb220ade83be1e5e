"""Every registered strategy passes the kit, and the kit catches the mistakes it is there for."""

import pytest
import torch
from torch import nn

from semilung.losses import consistency_loss, probabilities
from semilung.strategies import EMATeacher, Needs, Strategy, Term, build_strategy, list_strategies
from semilung.strategies.mean_teacher import MeanTeacher
from semilung.testing import CHECKS, check_strategy, check_teacher


@pytest.mark.parametrize("name", list_strategies())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(name, check):
    check(lambda: build_strategy(name))


MIXTURES = [
    ("mean_teacher", "mil", "non_adjacency"),
    ("supervised", "mean_teacher", "nodule_insertion"),
    ("pseudo_label", "copy_paste", "entropy_minimization", "anomaly"),
]


@pytest.mark.parametrize("names", MIXTURES, ids="+".join)
def test_mixtures_conform(names):
    check_strategy(names)


def test_uncertainty_mask_conforms():
    check_strategy(lambda: MeanTeacher(uncertainty_passes=2))


class DetachedMeanTeacher(MeanTeacher):
    """The mistake of a widely used toolkit: the unlabelled loss has no gradient."""

    def terms(self, step):
        terms = super().terms(step)
        return {name: Term(term.value.detach(), term.weight) for name, term in terms.items()}


class TeacherAgainstItself(MeanTeacher):
    """Another one: the teacher is compared with the teacher."""

    def terms(self, step):
        images = step.batch("unlabelled")["weak"]
        probs = probabilities(step.teacher(images)["logits"])
        return {"consistency": Term(consistency_loss(probs, probs), 1.0)}


class ReadsHiddenMasks(Strategy):
    def __init__(self):
        super().__init__()
        self.needs = Needs(views={"unlabelled": ("weak",)})

    def terms(self, step):
        logits = step.out("unlabelled")["logits"]
        return {"cheat": Term((logits - step.batch("unlabelled")["mask"].float()).square().mean())}


class WritesTheBatch(Strategy):
    def __init__(self):
        super().__init__()
        self.needs = Needs(views={"unlabelled": ("weak",)})

    def terms(self, step):
        step.batch("unlabelled")["weak"].mul_(2)
        return {"loss": Term(step.out("unlabelled")["logits"].square().mean())}


class IgnoresHealthy(Strategy):
    def __init__(self):
        super().__init__()
        self.needs = Needs(views={"labelled": ("weak",), "healthy": ("weak",)})

    def terms(self, step):
        return {"loss": Term(step.out("labelled")["logits"].square().mean())}


class LeavesATermOut(Strategy):
    """Its own parameter is in the graph only where there is a nodule."""

    def __init__(self):
        super().__init__()
        self.needs = Needs(views={"labelled": ("weak",)}, fields=("mask",))
        self.scale = nn.Parameter(torch.ones(()))

    def terms(self, step):
        loss = step.out("labelled")["logits"].square().mean()
        seen = bool((step.batch("labelled")["mask"] == 1).any())
        return {"loss": Term(loss * self.scale if seen else loss)}


class KeepsAnUnsavedState(Strategy):
    def __init__(self):
        super().__init__()
        self.needs = Needs(views={"labelled": ("weak",)})
        self.steps = 0

    def terms(self, step):
        return {"loss": Term((1 + self.steps) * step.out("labelled")["logits"].square().mean())}

    def after_step(self, progress):
        self.steps += 1


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (DetachedMeanTeacher, "no gradient"),
        (TeacherAgainstItself, "no gradient"),
        (ReadsHiddenMasks, "hidden mask"),
        (WritesTheBatch, "differs with the same seed|changed in place"),
        (IgnoresHealthy, "healthy stream does not change"),
        (KeepsAnUnsavedState, "differs after loading"),
        (LeavesATermOut, "not in the graph on empty batches: strategies.checked.scale"),
    ],
)
def test_the_kit_catches(strategy, message):
    with pytest.raises(AssertionError, match=message):
        check_strategy(strategy)


@pytest.mark.parametrize(
    "broken",
    [
        lambda mine, theirs, weight: mine,  # does nothing: the update is not in place
        lambda mine, theirs, weight: mine.mul_(1 - weight),  # the peer's `.add` without underscore
        lambda mine, theirs, weight: mine.lerp_(theirs, weight / 2),
    ],
)
def test_the_kit_catches_a_broken_average(broken, monkeypatch):
    def update(self, student):
        alpha = min(1 - 1 / (int(self.updates) + 1), self.decay)
        for mine, theirs in zip(self.net.parameters(), student.parameters(), strict=True):
            broken(mine, theirs, 1 - alpha)
        self.updates.add_(1)

    monkeypatch.setattr(EMATeacher, "update", torch.no_grad()(update))
    with pytest.raises(AssertionError, match="average"):
        check_teacher(lambda: build_strategy("mean_teacher"))


def test_teacher_copies_at_the_first_update_then_averages():
    student = nn.Linear(1, 1, bias=False)
    teacher = EMATeacher(student, decay=0.99)
    values = []
    for value in (2.0, 4.0, 8.0):
        student.weight.data.fill_(value)
        teacher.update(student)
        values.append(teacher.net.weight.item())
    # alpha = 0, 1/2, 2/3: copy, mean of two, mean of three
    assert values == pytest.approx([2, 3, 14 / 3])


def test_teacher_stays_in_evaluation_mode():
    teacher = EMATeacher(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    teacher.train()
    assert not any(module.training for module in teacher.net.modules())
