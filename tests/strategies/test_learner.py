"""The learner: composition, shared forwards, needs, predictor."""

import pytest
import torch

from semilung.strategies import Learner, Needs, build_strategy, list_strategies
from semilung.strategies.core.ramps import sigmoid_rampup
from semilung.strategies.mean_teacher import MeanTeacher
from semilung.strategies.supervised import Supervised
from semilung.testing import tiny_batch, tiny_student
from semilung.types import UserError


def learner(**options):
    strategies = {"supervised": Supervised(), "mean_teacher": MeanTeacher()}
    return Learner(tiny_student(), strategies, **options)


def batch(**options):
    return {**tiny_batch(Supervised(), **options), **tiny_batch(MeanTeacher(), **options)}


def test_terms_are_named_by_strategy_and_sum_to_the_parts():
    both = learner()
    torch.manual_seed(0)
    terms = both(batch(), 1.0)
    assert set(terms) == {"supervised/labelled", "supervised/healthy", "mean_teacher/consistency"}
    alone = Learner(tiny_student(), {"supervised": Supervised()})(batch(), 1.0)
    assert torch.equal(terms["supervised/labelled"].value, alone["supervised/labelled"].value)


def test_the_student_runs_once_a_view():
    both = learner()
    calls = []
    both.student.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0]))
    both(batch(), 1.0)
    assert len(calls) == 3  # labelled weak, healthy weak, unlabelled strong


def test_the_teacher_runs_once_a_view():
    names = ("copy_paste", "interpolation_consistency", "pseudo_label")
    together = Learner(tiny_student(), {name: build_strategy(name, {}) for name in names})
    calls = []
    together.teacher.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0]))
    both = batch()
    together(both, 1.0)
    assert len(calls) == 1
    assert torch.equal(calls[0], both["unlabelled"]["weak"])


def test_healthy_stream_can_be_absent():
    without = batch()
    del without["healthy"]
    assert "supervised/healthy" not in learner()(without, 1.0)


def test_views_ask_for_what_is_read_and_no_more():
    available = {"labelled": 3, "unlabelled": 2, "healthy": 0, "weak": 5}
    views = learner().views(available)
    assert views == {"labelled": ("weak",), "unlabelled": ("strong", "weak")}


def test_needs_of_a_task_are_read_where_it_is_active():
    needs = Needs(
        views={},
        fields=("anatomy",),
        tasks=("segmentation", "detection"),
        task_fields={"segmentation": ("mask", "anatomy"), "detection": ("nodules",)},
    )
    assert needs.among(["segmentation"]).fields == ("anatomy", "mask")
    assert needs.among(["detection", "other"]).tasks == ("detection",)
    assert needs.among().fields == ("anatomy", "mask", "nodules")
    for task_fields in ({"detecton": ("nodules",)}, {"detection": ("nodule",)}):
        with pytest.raises(ValueError, match="must be a tuple of"):
            Needs(views={}, tasks=("detection",), task_fields=task_fields)


def test_views_without_cases_of_a_stream_raise():
    with pytest.raises(UserError, match=r"unlabelled cases and there are none.*data\.labelled"):
        learner().views({"labelled": 3, "healthy": 1})


def test_the_teacher_predicts_by_default_where_there_is_one():
    both = learner()
    assert both.predictor is both.teacher
    student = learner(predictor="student")
    assert student.predictor is student.student
    alone = Learner(tiny_student(), {"supervised": Supervised()})
    assert alone.teacher is None
    assert alone.predictor is alone.student
    averaged = Learner(tiny_student(), {"supervised": Supervised()}, predictor="teacher")
    assert averaged.predictor is averaged.teacher


def test_weights_ramp_from_nearly_nothing_to_the_full():
    assert sigmoid_rampup(0, 0.4) == pytest.approx(0.006738, abs=1e-6)
    assert sigmoid_rampup(0.2, 0.4) == pytest.approx(2.718281828 ** (-1.25))
    assert sigmoid_rampup(0.4, 0.4) == 1
    assert sigmoid_rampup(0, 0) == 1
    both = learner()
    weights = [both(batch(), t)["mean_teacher/consistency"].weight for t in (0.0, 0.2, 1.0)]
    assert weights == sorted(weights)
    assert weights[-1] == 1


def test_uncertain_voxels_are_left_out():
    strategy = MeanTeacher(uncertainty_passes=1, noise=0.0)
    both = Learner(tiny_student(), {"mean_teacher": strategy})
    unlabelled = tiny_batch(strategy)
    for p in both.teacher.net.parameters():
        p.data.zero_()  # logits 0: every voxel at the largest entropy
    assert both(unlabelled, 0.5)["mean_teacher/consistency"].value.item() == 0
    strategy.uncertainty_passes = 0
    assert both(unlabelled, 0.5)["mean_teacher/consistency"].value.item() > 0


def test_unknown_names_and_options_suggest_the_near_ones():
    assert {"mean_teacher", "supervised"} <= set(list_strategies())
    with pytest.raises(UserError, match=r"did you mean mean_teacher\?"):
        build_strategy("mean_techer")
    with pytest.raises(UserError, match=r"did you mean weight\?"):
        build_strategy("mean_teacher", {"wieght": 1})
