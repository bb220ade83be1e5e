"""Conformance of all registered strategies and of mixtures."""

import pytest
from torch import nn

from semilung.strategies import EMATeacher, build_strategy, list_strategies
from semilung.strategies.mean_teacher import MeanTeacher
from semilung.testing import CHECKS, check_strategy
from semilung.testing.checks import (
    check_batch_unchanged,
    check_every_weighted_term_teaches,
    check_parameters_in_graph,
    task_choices,
)
from semilung.testing.problem import tiny_batch, tiny_learner, within

JOINT = {check_batch_unchanged, check_every_weighted_term_teaches, check_parameters_in_graph}
"""Checks of all tasks at once; what the others check is the sum of what each task alone shows."""

CHOICES = [
    pytest.param(check, name, tasks, id=f"{check.__name__}-{name}-{'+'.join(tasks)}")
    for name in list_strategies()
    for tasks in task_choices(lambda name=name: build_strategy(name))
    for check in CHECKS
    if len(tasks) == 1 or check in JOINT
]


@pytest.mark.parametrize(("check", "name", "tasks"), CHOICES)
def test_conformance(check, name, tasks):
    check(within(lambda: build_strategy(name), tasks))


MIXTURES = [
    pytest.param(("mean_teacher", "mil", "non_adjacency"), marks=pytest.mark.slow),
    ("supervised", "mean_teacher", "nodule_insertion"),
    ("pseudo_label", "copy_paste", "entropy_minimization", "anomaly"),
]


@pytest.mark.parametrize("names", MIXTURES, ids="+".join)
def test_mixtures_conform(names):
    check_strategy(names, tasks=("segmentation",))


def test_uncertainty_mask_conforms():
    check_strategy(lambda: MeanTeacher(uncertainty_passes=2), tasks=("segmentation",))


def test_task_choices_are_each_alone_and_all():
    def choices(*names):
        return task_choices(lambda: {name: build_strategy(name) for name in names})

    assert choices("supervised") == [("segmentation",)]
    assert choices("mean_teacher") == [
        ("segmentation",),
        ("detection",),
        ("segmentation", "detection"),
    ]
    # non_adjacency has no terms of detection alone
    assert choices("mean_teacher", "non_adjacency") == [
        ("segmentation",),
        ("segmentation", "detection"),
    ]


def test_checks_within_a_task_have_its_outputs_alone():
    for tasks, heads in ((["segmentation"], {"logits"}), (["detection"], {"centres"})):
        learner = tiny_learner(within(lambda: build_strategy("pseudo_label"), tasks))
        (strategy,) = learner.strategies.values()
        batch = tiny_batch(strategy)
        assert set(learner.student(batch["unlabelled"]["weak"])) == heads
        assert ("mask" in batch["labelled"]) == (tasks == ["segmentation"])


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
