"""What a person sees while scans are predicted."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from semilung.arm_names import printable

PERIOD_S = 15.0
"""Seconds between two lines where there is no terminal."""


class LiveBar:
    """What starts and stops a bar, where there is one."""

    _bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class ScanProgress(LiveBar):
    """Scans and their windows: a live bar on a terminal, a line now and then anywhere else.

    Args:
        scans: How many there are.
        shown: False says nothing.
    """

    def __init__(self, scans: int, *, shown: bool = True) -> None:
        self._console = Console(stderr=True, quiet=not shown)
        self._scans = scans
        self._number = 0
        if shown and self._console.is_terminal:
            name = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            self._bar = Progress(
                TextColumn("{task.description}", markup=False, table_column=name),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("windows"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                expand=True,
                transient=True,
            )
            self._task = self._bar.add_task("", total=None)

    def begin(self, name: str) -> None:
        """The next scan is read and prepared."""
        self._number += 1
        self._name = f"scan {self._number} of {self._scans}, {printable(name)}"
        self._began = self._said = time.monotonic()
        if self._bar is not None:
            self._bar.reset(self._task, total=None, description=self._name)
        else:
            self._say("begins")

    def windows(self, done: int, total: int) -> None:
        """So many of the scan's windows are predicted."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._said >= PERIOD_S:
            self._said = time.monotonic()
            elapsed = self._said - self._began
            left = elapsed / done * (total - done)
            self._say(f"{done} of {total} windows, {clock(elapsed)} elapsed, {clock(left)} left")

    def _say(self, what: str) -> None:
        line = f"{self._name}: {what}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    Example:
        >>> clock(75), clock(4000)
        ('1:15', '1:06:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
