"""Progress display of `semilung predict`: a live bar, or log lines without a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

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

T = TypeVar("T")

PERIOD_S = 15.0
"""Seconds between two lines without a terminal."""


class LiveBar:
    """Context manager that starts and stops a progress bar, if there is one."""

    _bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class ScanProgress(LiveBar):
    """Progress over scans and the parts that are predicted at once.

    Args:
        scans: Number of scans.
        shown: False prints nothing.
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
                TextColumn("parts"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                expand=True,
                transient=True,
            )
            self._task = self._bar.add_task("", total=None)

    def each(self, cases: Iterable[T], name: Callable[[T], str]) -> Iterator[T]:
        """Yield cases, each begun by its name, while the bar is shown."""
        with self:
            for case in cases:
                self.begin(name(case))
                yield case

    def begin(self, name: str) -> None:
        """Announce that the next scan is being read and prepared."""
        self._number += 1
        self._name = f"scan {self._number} of {self._scans}, {printable(name)}"
        self._start_s = self._last_s = time.monotonic()
        if self._bar is not None:
            self._bar.reset(self._task, total=None, description=self._name)
        else:
            self._print("begins")

    def windows(self, done: int, total: int) -> None:
        """Show the number of predicted parts of the scan."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._last_s >= PERIOD_S:
            self._last_s = time.monotonic()
            elapsed = self._last_s - self._start_s
            left = elapsed / done * (total - done)
            self._print(f"{done} of {total} parts, {clock(elapsed)} elapsed, {clock(left)} left")

    def _print(self, text: str) -> None:
        line = f"{self._name}: {text}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Format a duration as minutes and seconds, with hours if there are any.

    Example:
        >>> clock(75), clock(4000)
        ('1:15', '1:06:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
