"""Metrics of a run: `metrics.csv` and TensorBoard."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from semilung.files import write_error, write_text
from semilung.runs.run_folder import RunFolder

HEADER = ("step", "name", "value")


class MetricsLog:
    """Rows `step,name,value` in the run's CSV, and the same as TensorBoard scalars.

    Args:
        run: The run's folder.
        step: Steps done so far; rows beyond it (of an attempt that was killed) are removed.
        enabled: False on every process but the first, which then logs nothing.
    """

    def __init__(self, run: RunFolder, *, step: int, enabled: bool = True) -> None:
        self.enabled = enabled
        if not enabled:
            return
        self._path = run.metrics
        with self._written():
            _keep_until(run.metrics, step)
            self._file = run.metrics.open("a", newline="", encoding="utf-8")
            self._rows = csv.writer(self._file, lineterminator="\n")
            self._board = SummaryWriter(str(run.path), purge_step=step + 1)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if not self.enabled:
            return
        # a full disk stays full, and its error is raised already
        with self._written() if kind is None else suppress(OSError):
            try:
                self._file.close()
            finally:
                self._board.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = "Checkpoints are untouched: go on with resume=..."
            raise write_error(self._path, error, remedy) from error

    def scalars(self, step: int, metrics: dict[str, float]) -> None:
        """Log metrics under their names; NaN, which means undefined, is an empty cell."""
        if not self.enabled:
            return
        with self._written():
            for name, value in metrics.items():
                self._rows.writerow((step, name, "" if math.isnan(value) else repr(float(value))))
                if not math.isnan(value):
                    self._board.add_scalar(name, value, step)
            self._file.flush()

    def image(self, step: int, name: str, rgb: np.ndarray) -> None:
        """Log an `(H, W, 3)` uint8 picture."""
        if not self.enabled:
            return
        with self._written():
            self._board.add_image(name, rgb, step, dataformats="HWC")


class Means:
    """Means of metrics since they were last read; tensors stay on their device till then.

    Args:
        state: Result of `state`, when a checkpoint was saved between two logged points.
    """

    def __init__(self, state: Mapping[str, tuple[float, int]] | None = None) -> None:
        saved = (state or {}).items()
        self._sums: dict[str, Tensor | float] = {name: total for name, (total, _) in saved}
        self._counts = {name: count for name, (_, count) in saved}

    def add(self, metrics: Mapping[str, Tensor | float]) -> None:
        """Add one step's metrics; one that not every step has is a mean of those that do."""
        for name, value in metrics.items():
            value = value.detach() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means

    def state(self) -> dict[str, tuple[float, int]]:
        """Return sum and count of each, as plain values that continue to the same bits.

        Times are left out: they would make checkpoints of equal trainings differ.
        """
        sums = {name: total for name, total in self._sums.items() if not name.startswith("time/")}
        return {name: (float(total), self._counts[name]) for name, total in sums.items()}


def _keep_until(path: Path, step: int) -> None:
    rows: list[list[str]] = []
    if path.exists():
        # a line that was cut short, or holes after a power cut, are skipped
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            saved = list(csv.reader(file))[1:]
        rows = [row for row in saved if len(row) == len(HEADER) and row[0].isdecimal()]
        rows = [row for row in rows if int(row[0]) <= step]
    text = "\n".join(",".join(row) for row in [list(HEADER), *rows]) + "\n"
    write_text(path, text)
