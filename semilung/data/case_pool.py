"""The same work on many cases, in processes, with a bar; what fails is told and stops no other."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process
from threading import Thread
from typing import TypeAlias, TypeVar

from rich.console import Console
from rich.progress import track

from semilung.files import DiskFullError
from semilung.types import UserError

T = TypeVar("T")
Jobs: TypeAlias = Sequence[tuple[str, T]]
Done: TypeAlias = tuple[str, list[Warning | str]]
"""Why a job failed, empty where it did not; and the warnings that it gave."""


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
        Why it failed, under the name of each that did. Warnings of the work are given here, when
        all of it is done: those of a process would come between the bar's lines, or not at all.

    Raises:
        DiskFullError: No space is left; what has not begun is not tried.
    """
    finished = track(
        _run(work, jobs, processes),
        title,
        total=len(jobs),
        console=Console(stderr=True),
        transient=True,
        disable=not (progress and jobs),
    )
    done = dict(finished)
    for warning in (warning for _, given in done.values() for warning in given):
        warnings.warn(warning, stacklevel=2)
    return {name: reason for name, (reason, _) in done.items() if reason}


def _run(
    work: Callable[[T], None], jobs: Jobs[T], processes: int | None
) -> Iterator[tuple[str, Done]]:
    """Each job's name and how it ended, in the order of finishing."""
    count = min(os.cpu_count() or 1, 8) if processes is None else processes
    if min(count, len(jobs)) <= 1:
        yield from ((name, _attempt(work, item)) for name, item in jobs)
        return
    waiting = deque(jobs)
    while waiting:
        # whose death it was that broke the pool shows where each has a worker of its own
        for job in (yield from _until_a_death(work, waiting, min(count, len(waiting)))):
            if (yield from _until_a_death(work, deque([job]), 1)):
                yield job[0], ("its worker process died, perhaps of too little memory", [])


def _until_a_death(
    work: Callable[[T], None], waiting: deque[tuple[str, T]], count: int
) -> Generator[tuple[str, Done], None, list[tuple[str, T]]]:
    """Do the jobs that wait, a few handed out at a time; returns what a worker's death left undone.

    What is still waiting then has not been handed out.
    """
    running: dict[Future[Done], tuple[str, T]] = {}
    with ProcessPoolExecutor(count, initializer=_end_with_parent) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < 2 * count:
                    running[pool.submit(_attempt, work, waiting[0][1])] = waiting[0]
                    waiting.popleft()
                for job in wait(running, return_when=FIRST_COMPLETED).done:
                    done = job.result()
                    yield running.pop(job)[0], done
        except BrokenProcessPool:
            return list(running.values())
        except DiskFullError:
            pool.shutdown(cancel_futures=True)
            raise
    return []


def _end_with_parent() -> None:
    """Let a worker end when its parent is killed; it would wait for its next job for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _attempt(work: Callable[[T], None], item: T) -> Done:
    reason = ""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always", UserWarning)  # "once" is the parent's affair
        try:
            work(item)
        except DiskFullError:  # nor would the others find space
            raise
        except (UserError, OSError, MemoryError) as error:
            reason = str(error) or "out of memory"
    return reason, [each.message for each in given]
