"""Cost of a training: seconds and peak memory, summed over interruptions."""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from semilung.files import read_json, write_text
from semilung.nested import fits
from semilung.types import UserError

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """Cost of a run so far.

    Attributes:
        seconds: Of training and validating, over all sittings, up to the last checkpoint of each.
        steps: Optimizer steps done.
        peak_memory_mib: Largest resident memory of the training process.
        peak_gpu_memory_mib: Most that its tensors took on a GPU; 0 without one.
        threads: CPU threads of torch.
    """

    seconds: float = 0.0
    steps: int = 0
    peak_memory_mib: float = 0.0
    peak_gpu_memory_mib: float = 0.0
    threads: int = 0


class CostMeter:
    """Adds the cost of this process to that of earlier ones in the run's folder.

    Args:
        path: The run's `cost.json`; what it says is added to, where it is there and whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = read_cost(path)
        self._started = time.monotonic()
        _forget_peak()

    def write(self, steps: int) -> None:
        """Write the cost at this step."""
        seconds = self._before.seconds + time.monotonic() - self._started
        cost = Cost(
            seconds=round(seconds, 1),
            steps=steps,
            peak_memory_mib=round(max(self._before.peak_memory_mib, _peak_mib()), 1),
            peak_gpu_memory_mib=round(max(self._before.peak_gpu_memory_mib, _peak_gpu_mib()), 1),
            threads=torch.get_num_threads(),
        )
        write_text(self._path, json.dumps(asdict(cost)) + "\n")


def read_cost(path: Path) -> Cost:
    """Return the cost in a run's `cost.json`; all zero where it is missing or damaged."""
    try:
        cost = Cost(**read_json(path))
    except (UserError, TypeError):
        return Cost()
    return cost if all(fits(value, float) for value in asdict(cost).values()) else Cost()


def _peak_gpu_mib() -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0


def _forget_peak() -> None:
    """Let the peaks start from now: one process may train several runs, one after another."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        _CLEAR.write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is then the process's
        return


def _peak_mib() -> float:
    try:
        match = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
    except OSError:
        match = None
    if match:
        return int(match[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
