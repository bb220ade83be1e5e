"""What a person sees while a training runs."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from semilung.inference.progress import clock


class TrainingProgress:
    """A live bar on a terminal; plain lines, fit for a log file, anywhere else.

    Args:
        total: Steps of the whole training.
        done: Steps that were done before (a resumed run).
        shown: False on every process but the first.
    """

    def __init__(self, total: int, *, done: int = 0, shown: bool = True) -> None:
        self.console = Console(quiet=not shown)
        self._total = total
        self._done = done
        self._started = time.monotonic()
        self._bar: Progress | None = None
        if shown and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task("training", total=total, completed=done, note="")

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """One more step is done."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def report(self, step: int, figures: dict[str, float]) -> None:
        """Show the latest figures, with the time that is left where there is no bar."""
        note = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self._bar is not None:
            self._bar.update(self._task, note=note)
            return
        elapsed = time.monotonic() - self._started
        left = elapsed / max(1, step - self._done) * (self._total - step)
        line = f"step {step}/{self._total}  {note}  {clock(elapsed)} elapsed, {clock(left)} left"
        self.say(line)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
