"""The processes of a training, which go on together or stop together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import nn

from semilung.types import UserError

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""How long processes wait for the first one, which may be preparing a whole cohort."""


class ReportedError(UserError):
    """An error of another process, which reports it."""


class Team:
    """Agreement between the processes of a training; with one process, nothing is exchanged.

    Messages go over the CPU and a group of their own, apart from DDP's gradients. An error of one
    process is raised in all, at the next point where they agree; a process that has ended is missed
    at that point too.

    Args:
        fabric: Launched.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
        is_first: Whether this one writes, logs and prints.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.rank = fabric.global_rank
        self.size = fabric.world_size
        self.is_first = fabric.is_global_zero
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE) if self.size > 1 else None

    def highest(self, number: int) -> int:
        """Return the largest of the processes' numbers."""
        if self.size == 1:
            return number
        vote = torch.tensor(number)
        with _all_there():
            dist.all_reduce(vote, op=dist.ReduceOp.MAX, group=self._group)
        return int(vote)

    def gather(self, value: T) -> list[T]:
        """Return the processes' values, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _all_there():
            dist.all_gather_object(values, value, group=self._group)
        return values

    def mean(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the mean of each metric over the processes that have it."""
        every = self.gather(metrics)
        names = dict.fromkeys(name for each in every for name in each)
        lists = {name: [each[name] for each in every if name in each] for name in names}
        return {name: sum(values) / len(values) for name, values in lists.items()}

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Raise a `UserError` of one process's block in all processes, where the block ends.

        Raises:
            UserError: The first process's that has one; `ReportedError` in the others.
        """
        error = None
        try:
            yield
        except UserError as caught:
            error = caught
        self._agree(error)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process runs the block, then all others do; errors as in `agreeing`."""
        if not self.is_first:
            self._agree(None)
        with self.agreeing():
            yield
        if self.is_first:
            self._agree(None)

    def first_does(self, act: Callable[..., object], *arguments: Any) -> None:
        """Let the first process act while the others wait; errors as in `agreeing`."""
        with self.agreeing():
            if self.is_first:
                act(*arguments)

    @torch.no_grad()
    def even_out(self, module: nn.Module) -> None:
        """Make all buffers equal everywhere, after each process has moved its own.

        Floating ones that differ become their mean, which is what one process with all samples
        has where a buffer is a sum or an average over samples; others become the first process's.
        """
        buffers = list(module.buffers())
        if self.size == 1 or not buffers:
            return
        local = torch.cat([buffer.double().flatten() for buffer in buffers])
        ranks = [torch.empty_like(local) for _ in range(self.size)]
        dist.all_gather(ranks, local)
        every = torch.stack(ranks)
        mean = torch.where((every == every[0]).all(dim=0), every[0], every.mean(dim=0))
        sizes = [buffer.numel() for buffer in buffers]
        for buffer, means, first in zip(
            buffers, torch.split(mean, sizes), torch.split(ranks[0], sizes), strict=True
        ):
            buffer.copy_((means if buffer.is_floating_point() else first).view_as(buffer))

    def _agree(self, error: UserError | None) -> None:
        if not self.highest(int(error is not None)):
            return
        messages = self.gather(None if error is None else str(error))
        first = next(rank for rank, text in enumerate(messages) if text is not None)
        if error is not None and first == self.rank:
            raise error
        raise ReportedError(messages[first])


@contextmanager
def _all_there() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        msg = "another process of this training has ended; its own message says why"
        raise ReportedError(msg) from error
