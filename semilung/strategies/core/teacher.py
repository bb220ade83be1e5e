"""EMA teacher: exponential moving average of the student."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from semilung.models import Footprint


class EMATeacher(nn.Module):
    r"""Exponential moving average of the student's weights, without gradient.

    $$ \theta' \leftarrow \alpha_t \theta' + (1 - \alpha_t) \theta, \qquad
       \alpha_t = \min\big(1 - \tfrac{1}{t + 1}, \alpha\big) $$

    with t = 0 at the first update, which therefore copies the student. Buffers are copied, not
    averaged: a running mean of running means suits neither net, and the nets of semilung have no
    buffers that change in training. The teacher stays in evaluation mode, without dropout.

    Args:
        student: Net to average.
        decay: α in [0, 1).

    Source: Tarvainen and Valpola, Mean teachers, NeurIPS 2017.
    """

    updates: Tensor

    def __init__(self, student: nn.Module, *, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            msg = f"the teacher's decay must lie in [0, 1), got {decay}"
            raise ValueError(msg)
        self.decay = decay
        self.net = copy.deepcopy(student).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @property
    def footprint(self) -> Footprint | None:
        """Reach and memory of a prediction, those of the student."""
        return getattr(self.net, "footprint", None)

    def train(self, mode: bool = True) -> EMATeacher:
        """Stay in evaluation mode, whatever the mode of the learner."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        """Return the teacher's named outputs, without gradient."""
        return self.net(x)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Update the average with the student's weights."""
        alpha = min(1 - 1 / (int(self.updates) + 1), self.decay)
        for weight, target in zip(self.net.parameters(), student.parameters(), strict=True):
            weight.lerp_(target.to(weight.dtype), 1 - alpha)
        for average, current in zip(self.net.buffers(), student.buffers(), strict=True):
            average.copy_(current)
        self.updates.add_(1)
