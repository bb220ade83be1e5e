"""Progress of a training: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from statistics import median

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

from semilung.inference.scan_progress import LiveBar, clock

BAR = 10
"""Columns of the bar; the rest of a line is for metrics."""

LENGTHS = (16, 8, 5, 3)
"""Letters that names are shortened to, one after another, until a line fits."""

TIMED_STEPS = 4
"""Steps after which the whole training's time is estimated; the first one does not count."""

LONG_S = 1800.0
"""Seconds of a training above which its estimated time is a warning."""


class TrainingProgress(LiveBar):
    """A live bar on a terminal; plain lines, fit for a log file, anywhere else.

    Args:
        total: Steps of the whole training.
        done: Steps that were done before (a resumed run).
        shown: False on every process but the first.
        console: Where it is shown; standard output by default.
    """

    def __init__(
        self, total: int, *, done: int = 0, shown: bool = True, console: Console | None = None
    ) -> None:
        self.console = console or Console(quiet=not shown)
        self._total = total
        self._done = done
        self._shown = shown
        self._step_s: list[float] = []
        self._started = time.monotonic()
        if shown and self.console.is_terminal:
            self._bar = Progress(
                BarColumn(bar_width=BAR),
                MofNCompleteColumn(),
                TextColumn(
                    "{task.fields[note]}",
                    markup=False,
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
                expand=True,
            )
            self._task = self._bar.add_task("training", total=total, completed=done, note="")

    def advance(self, step_s: float) -> None:
        """Count a step that took so many seconds."""
        if self._bar is not None:
            self._bar.advance(self._task)
        if self._shown and len(self._step_s) < TIMED_STEPS:
            self._step_s.append(step_s)
            if len(self._step_s) == TIMED_STEPS:
                _warn_of_duration(median(self._step_s[1:]), self._total - self._done - TIMED_STEPS)

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the latest metrics, with the time left where there is no bar."""
        if self._bar is not None:
            others = BAR + 2 * len(str(self._total)) + 1 + len("0:00:00 left 0:00:00") + 3
            self._bar.update(self._task, note=fitted(metrics, self.console.width - others))
            return
        note = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        elapsed = time.monotonic() - self._started
        left = elapsed / max(1, step - self._done) * (self._total - step)
        line = f"step {step}/{self._total}  {note}  {clock(elapsed)} elapsed, {clock(left)} left"
        self.say(line)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def fitted(metrics: Mapping[str, float], room: int) -> str:
    """Return metrics in at most `room` characters: names are shortened, then the last omitted.

    Example:
        >>> fitted({"loss": 0.7453, "mean_teacher/consistency": 0.01234}, 36)
        'loss 0.745  consistency 0.0123'
        >>> fitted({"loss": 0.7453, "mean_teacher/consistency": 0.01234}, 24)
        'loss 0.745  consi 0.0123'
    """
    line = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    for length in LENGTHS:
        if len(line) <= room:
            return line
        names = [name.rsplit("/", 1)[-1][:length] for name in metrics]
        values = metrics.values()
        line = "  ".join(f"{name} {value:.3g}" for name, value in zip(names, values, strict=True))
    return line if len(line) <= room else f"{line[: max(0, room - 1)]}…"


def _warn_of_duration(step_s: float, left: int) -> None:
    if step_s * left > LONG_S:
        warnings.warn(
            f"a step takes {step_s:.2g} s, so the {left} steps that are left take about "
            f"{step_s * left / 3600:.1f} hours. A GPU, a smaller data.crop, data.batch or "
            f"data.bag_size (mil), or fewer trainer.max_steps take less",
            stacklevel=4,
        )
