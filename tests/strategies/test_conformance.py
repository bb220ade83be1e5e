"""Conformance of all registered strategies and of mixtures."""

import pytest
from torch import nn

from semilung.strategies import EMATeacher, build_strategy, list_strategies
from semilung.strategies.mean_teacher import MeanTeacher
from semilung.testing import CHECKS, check_strategy


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
