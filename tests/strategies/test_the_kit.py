"""Conformance kit: the errors of strategies that it must catch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from semilung.data import Case, PreparedCase
from semilung.losses import consistency_loss, probabilities
from semilung.strategies import EMATeacher, Learner, Needs, Strategy, Term, build_strategy
from semilung.strategies.mean_teacher import MeanTeacher
from semilung.testing import TinyCase, check_strategy, check_teacher, tiny_student


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
        has_nodule = bool((step.batch("labelled")["mask"] == 1).any())
        return {"loss": Term(loss * self.scale if has_nodule else loss)}


class KeepsAnUnsavedState(Strategy):
    def __init__(self):
        super().__init__()
        self.needs = Needs(views={"labelled": ("weak",)})
        self.steps = 0

    def terms(self, step):
        return {"loss": Term((1 + self.steps) * step.out("labelled")["logits"].square().mean())}

    def after_step(self, progress):
        self.steps += 1


class WeakForStrong(MeanTeacher):
    """Declares the strong view and reads the weak one on both sides."""

    def terms(self, step):
        student = probabilities(step.out("unlabelled", "weak")["logits"])
        teacher = probabilities(self._teach(step)["logits"])
        return {"consistency": Term(consistency_loss(student, teacher))}


class NeverReadsTheTeacher(MeanTeacher):
    def terms(self, step):
        with torch.no_grad():
            target = probabilities(step.student(step.batch("unlabelled")["weak"])["logits"])
        student = probabilities(step.out("unlabelled", "strong")["logits"])
        return {"consistency": Term(consistency_loss(student, target))}


class OneStream(Strategy):
    """A squared output on one stream's crops, for mistakes in what surrounds it."""

    stream = "labelled"
    fields = ()

    def __init__(self):
        super().__init__()
        self.needs = Needs(views={self.stream: ("weak",)}, fields=self.fields)

    def terms(self, step):
        return {"loss": Term(step.out(self.stream)["logits"].square().mean())}


class ReadsAnUndeclaredView(OneStream):
    def terms(self, step):
        return {"loss": Term(step.out("labelled", "strong")["logits"].square().mean())}


class ReadsAnUndeclaredField(OneStream):
    def terms(self, step):
        mask = step.batch("labelled")["mask"].float()
        return {"loss": Term((step.out("labelled")["logits"] - mask).square().mean())}


class ReadsWhatUnlabelledScansLack(OneStream):
    stream, fields = "unlabelled", ("bag_label",)

    def terms(self, step):
        label = step.batch("unlabelled")["bag_label"].float()
        return {"loss": Term((step.out("unlabelled")["logits"].mean() - label.mean()).square())}


class UnsavedWeight(OneStream):
    steps = 1

    def terms(self, step):
        return {"loss": Term(super().terms(step)["loss"].value, 0.1 * self.steps)}

    def after_step(self, progress):
        self.steps += 1


class UnsavedController(OneStream):
    weight = 1.0

    def terms(self, step):
        return {"loss": Term(super().terms(step)["loss"].value, self.weight)}

    def after_validation(self, metrics):
        self.weight *= metrics["val/dice"]


class HiddenMaskInTheWeight(OneStream):
    stream, fields = "healthy", ("mask",)

    def terms(self, step):
        weight = float(1 + step.batch("healthy")["mask"].max())
        return {"loss": Term(super().terms(step)["loss"].value, weight)}


class HiddenMaskInTheGradient(HiddenMaskInTheWeight):
    def terms(self, step):
        x, mask = step.out("healthy")["logits"], step.batch("healthy")["mask"].float()
        return {"loss": Term((x + mask * (x - x.detach())).square().mean())}


class WritesASharedOutput(OneStream):
    def terms(self, step):
        with torch.no_grad():
            step.out("labelled")["logits"].sigmoid_()
        return {"loss": Term(step.student(step.batch("labelled")["weak"])["logits"].mean())}


class ReplacesASharedOutput(OneStream):
    def terms(self, step):
        outputs = step.out("labelled")
        outputs["logits"] = outputs["logits"].sigmoid()
        return {"loss": Term(outputs["logits"].mean())}


class RenamesCases(OneStream):
    def terms(self, step):
        step.batch("labelled")["case"].append("another")
        return super().terms(step)


class SumNotMean(OneStream):
    def terms(self, step):
        logits = step.out("labelled")["logits"]
        return {"loss": Term(logits.square().mean() * len(logits))}


class JoinsLate(OneStream):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def terms(self, step):
        loss = super().terms(step)["loss"].value
        return {"loss": Term(loss * self.scale if step.progress > 0.2 else loss)}


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (WeakForStrong, "gradient by its strong view"),
        (NeverReadsTheTeacher, "the teacher is never used"),
        (ReadsAnUndeclaredView, "'strong' of the labelled stream is read, but Needs does not"),
        (ReadsAnUndeclaredField, "'mask' of the labelled stream is read"),
        (ReadsWhatUnlabelledScansLack, "'bag_label' of the unlabelled stream"),
        (UnsavedWeight, "differs after loading"),
        (UnsavedController, "differs after loading"),
        (HiddenMaskInTheWeight, "hidden mask"),
        (HiddenMaskInTheGradient, "the gradient reads a hidden mask"),
        (WritesASharedOutput, "was changed in place"),
        (ReplacesASharedOutput, "was changed in place"),
        (RenamesCases, "'case'.* was changed"),
        (SumNotMean, "a sum over samples"),
        (JoinsLate, "at progress 0.0: strategies.checked.scale"),
        (DetachedMeanTeacher, "no gradient"),
        (TeacherAgainstItself, "no gradient"),
        (ReadsHiddenMasks, "'mask' of the unlabelled stream is read"),
        (WritesTheBatch, "differs with the same seed|changed in place"),
        (IgnoresHealthy, "healthy stream does not change"),
        (KeepsAnUnsavedState, "differs after loading"),
        (LeavesATermOut, "on empty batches at progress 0.0: strategies.checked.scale"),
    ],
)
def test_the_kit_catches(strategy, message):
    with pytest.raises(AssertionError, match=message):
        check_strategy(strategy)


class DetachedCentres(MeanTeacher):
    """A mistake in the terms of one of its tasks alone."""

    def terms(self, step):
        return {
            name: Term(term.value.detach() if name == "centre_consistency" else term.value)
            for name, term in super().terms(step).items()
        }


def test_the_kit_catches_a_mistake_in_one_task():
    check_strategy(DetachedCentres, tasks=("segmentation",))
    with pytest.raises(AssertionError, match="no gradient at all"):
        check_strategy(DetachedCentres)


@pytest.mark.parametrize(
    "broken",
    [
        lambda average, weights, weight: average,  # does nothing: the update is not in place
        lambda average, weights, weight: average.mul_(
            1 - weight
        ),  # the peer's `.add` without underscore
        lambda average, weights, weight: average.lerp_(weights, weight / 2),
    ],
)
def test_the_kit_catches_a_broken_average(broken, monkeypatch):
    def update(self, student):
        alpha = min(1 - 1 / (int(self.updates) + 1), self.decay)
        for average, weights in zip(self.net.parameters(), student.parameters(), strict=True):
            broken(average, weights, 1 - alpha)
        self.updates.add_(1)

    monkeypatch.setattr(EMATeacher, "update", torch.no_grad()(update))
    with pytest.raises(AssertionError, match="average"):
        check_teacher(lambda: build_strategy("mean_teacher"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"views": {"unlabeled": ("weak",)}},
        {"views": {"unlabelled": ("week",)}},
        {"views": {"unlabelled": ("weak")}},  # a string, by a forgotten comma
        {"views": {}, "optional": {"healthy": ("x",)}},
        {"views": {}, "fields": ("masks",)},
        {"views": {}, "fields": "mask"},
    ],
)
def test_needs_that_no_loader_has_are_refused(wrong):
    with pytest.raises(ValueError, match="must be a tuple of"):
        Needs(**wrong)


class NoNeeds(Strategy):
    pass


class NoTerm(OneStream):
    def terms(self, step):
        return {"loss": super().terms(step)["loss"].value}


def test_common_errors_of_new_strategies_are_named():
    with pytest.raises(TypeError, match=r"'average' has no Needs: set self\.needs"):
        Learner(tiny_student(), {"average": NoNeeds()})
    learner = Learner(tiny_student(), {"average": NoTerm()})
    with pytest.raises(TypeError, match=r"average/loss is not a Term: return \{name: Term"):
        learner({"labelled": {"weak": torch.rand(1, 1, 8, 8, 8)}}, 0.0)


def test_the_kit_s_case_has_all_that_a_prepared_case_has():
    case = tiny_case()
    public = [name for name in dir(PreparedCase) if not name.startswith("_")]
    for name in public:
        getattr(case, name)  # raises where the kit's case lacks it
    assert case.shape == (16, 16, 16)
    assert case.spacing_mm == (1, 1, 1)
    assert case.crop("image", (-4, 0, 0), (8, 8, 8)).shape == (8, 8, 8)
    assert [(n.name, n.voxel) for n in case.nodules] == [("1", (5.5, 5.5, 5.5))]
    assert len(case.foreground) == len(case.diameters_mm) == 64
    assert case.lungs is None


def tiny_case():
    row = Case("a", "a", Path("a"), "labelled", mask=Path("a"), anatomy=Path("a"))
    return TinyCase(row, {field: Path(field) for field in row.volumes()})


class ReadsSpacing(Strategy):
    """A method of somebody else whose prior depends on the voxel size and the nodules."""

    def __init__(self) -> None:
        super().__init__()
        self.needs = Needs(views={"labelled": ("weak",)}, fields=("mask",))
        self.register_buffer("edge_mm", torch.zeros(()))

    def before_training(self, streams) -> None:
        sizes = [case.spacing_mm[0] * case.shape[0] for case in streams["labelled"]]
        assert all(case.nodules for case in streams["labelled"])
        self.edge_mm = torch.tensor(float(np.mean(sizes)))

    def terms(self, step):
        logits = step.out("labelled")["logits"]
        return {"size": Term((logits.sigmoid().mean() - 0.1 / self.edge_mm) ** 2, 1.0)}


def test_check_strategy_that_reads_the_geometry_of_cases_passes():
    check_strategy(ReadsSpacing)
