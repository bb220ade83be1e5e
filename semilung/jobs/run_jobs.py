"""Parallel work on many cases, with a progress bar; a case that fails stops no other."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from semilung.jobs.attempt import Done, Jobs, attempt
from semilung.jobs.process_pool import run_in_pool

T = TypeVar("T")


def run_jobs(
    work: Callable[[T], None],
    jobs: Jobs[T],
    *,
    title: str,
    progress: bool = True,
    processes: int | None = None,
    scheduler: str | None = None,
) -> dict[str, str]:
    """Call `work` on each item of the named jobs.

    Args:
        work: A function that pickles. A `UserError`, `OSError` or `MemoryError` that it raises is
            returned as the job's failure.
        jobs: Name and item of each job.
        title: Title of the progress bar on standard error.
        progress: Show the bar.
        processes: Number of worker processes; None is one a core, at most 8. 0 uses this process.
        scheduler: `local` for a Dask cluster of this machine, or the address of a Dask scheduler;
            None for processes of its own.

    Returns:
        The reason of each failed job, by name. Warnings of the work are issued at the end: those
        of a worker would appear between the bar's lines, or not at all.

    Raises:
        DiskFullError: No space is left; remaining jobs are cancelled.
        UserError: No scheduler answers at the address, or it was lost.
    """
    finished = track(
        _run(work, jobs, processes, scheduler),
        title,
        total=len(jobs),
        console=Console(stderr=True),
        transient=True,
        disable=not (progress and jobs),
    )
    done = dict(finished)
    for warning in (warning for _, issued in done.values() for warning in issued):
        warnings.warn(warning, stacklevel=2)
    return {name: reason for name, (reason, _) in done.items() if reason}


def _run(
    work: Callable[[T], None], jobs: Jobs[T], processes: int | None, scheduler: str | None
) -> Iterator[tuple[str, Done]]:
    """Yield each job's name and outcome, in the order of finishing."""
    count = worker_count(processes)
    if scheduler is not None and jobs:
        from semilung.jobs.dask_cluster import run_on_dask

        yield from run_on_dask(work, jobs, scheduler, count)
    elif min(count, len(jobs)) <= 1:
        yield from ((name, attempt(work, item)) for name, item in jobs)
    else:
        yield from run_in_pool(work, jobs, count)


def worker_count(processes: int | None) -> int:
    """Return the number of worker processes: one a core, at most 8, unless it is given."""
    return min(os.cpu_count() or 1, 8) if processes is None else processes
