"""The teacher: an exponential moving average of the student."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class EMATeacher(nn.Module):
    r"""A copy of the student whose weights follow it slowly and take no gradient.

    $$ \theta' \leftarrow \alpha_t \theta' + (1 - \alpha_t) \theta, \qquad
       \alpha_t = \min\big(1 - \tfrac{1}{t + 1}, \alpha\big) $$

    with t = 0 at the first update, which therefore copies the student. Buffers are copied, not
    averaged: semilung's nets have none that change in training (group norm), and a running mean of
    running means fits neither net. The teacher stays in evaluation mode, without dropout.

    Args:
        student: The net to follow.
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

    def train(self, mode: bool = True) -> EMATeacher:
        """Stay in evaluation mode whatever the learner does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        """The teacher's named outputs, without gradient."""
        return self.net(x)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move towards the student by one step of the average."""
        alpha = min(1 - 1 / (int(self.updates) + 1), self.decay)
        for mine, theirs in zip(self.net.parameters(), student.parameters(), strict=True):
            mine.lerp_(theirs.to(mine.dtype), 1 - alpha)
        for average, current in zip(self.net.buffers(), student.buffers(), strict=True):
            average.copy_(current)
        self.updates.add_(1)
