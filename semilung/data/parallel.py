"""The same work on many cases, in processes, with a bar; what fails is told and stops no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeAlias, TypeVar

from rich.console import Console
from rich.progress import track

from semilung.types import UserError

T = TypeVar("T")
Jobs: TypeAlias = Sequence[tuple[str, T]]


def run_jobs(
    work: Callable[[T], None],
    jobs: Jobs[T],
    *,
    title: str,
    progress: bool = True,
    processes: int | None = None,
) -> dict[str, str]:
    """Do `work` on each item of the named jobs.

    Args:
        work: What to do; a function that pickles. What it raises for data or the machine
            (`UserError`, `OSError`, `MemoryError`) is told.
        jobs: Name and item of each.
        title: What the bar on standard error says.
        progress: Show that bar.
        processes: How many at a time; None is one a core, at most 8. 0 uses this process.

    Returns:
        Why it failed, under the name of each that did.
    """
    finished = track(
        _run(work, jobs, processes),
        title,
        total=len(jobs),
        console=Console(stderr=True),
        transient=True,
        disable=not (progress and jobs),
    )
    return {name: reason for name, reason in finished if reason}


def _run(
    work: Callable[[T], None], jobs: Jobs[T], processes: int | None
) -> Iterator[tuple[str, str]]:
    """Each job's name and why it failed, empty where it did not, in the order of finishing."""
    count = min(os.cpu_count() or 1, 8) if processes is None else processes
    if min(count, len(jobs)) <= 1:
        yield from ((name, _attempt(work, item)) for name, item in jobs)
        return
    with ProcessPoolExecutor(min(count, len(jobs))) as pool:
        running: dict[Future[str], str] = {
            pool.submit(_attempt, work, item): name for name, item in jobs
        }
        for job in as_completed(running):
            try:
                yield running[job], job.result()
            except BrokenProcessPool:
                yield running[job], "a worker process died, perhaps of too little memory"


def _attempt(work: Callable[[T], None], item: T) -> str:
    try:
        work(item)
    except (UserError, OSError, MemoryError) as error:
        return str(error) or "out of memory"
    return ""
