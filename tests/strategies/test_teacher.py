"""The averaged teacher: its weights by hand, its buffers, its mode."""

import pytest
import torch
from torch import nn

from semilung.strategies import EMATeacher


def net_of(weight):
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, weight)
    return net


def test_weights_follow_the_warm_average():
    # alpha = min(1 - 1 / (t + 1), 0.7) = 0, 1/2, 2/3, 0.7: a copy, two plain means, then the decay
    teacher = EMATeacher(net_of(100.0), decay=0.7)
    averages = []
    for weight in (1.0, 2.0, 6.0, 13.0):
        teacher.update(net_of(weight))
        averages.append(teacher.net.weight.item())
    assert averages == pytest.approx([1, 1.5, 3, 0.7 * 3 + 0.3 * 13])
    assert int(teacher.updates) == 4


def test_buffers_are_the_students_own_and_not_an_average():
    student = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    teacher = EMATeacher(student, decay=0.9)
    for seed in range(3):
        student(torch.randn(8, 2, generator=torch.Generator().manual_seed(seed)))
        teacher.update(student)
    buffers = dict(student.named_buffers())
    assert int(buffers["1.num_batches_tracked"]) == 3
    for name, buffer in teacher.net.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
        assert buffer.data_ptr() != buffers[name].data_ptr(), name


def test_output_carries_no_gradient_and_the_student_keeps_its_own():
    student = net_of(2.0)
    teacher = EMATeacher(student).train()
    assert not teacher(torch.ones(1, 1)).requires_grad
    assert student(torch.ones(1, 1)).requires_grad
    assert not teacher.net.training
