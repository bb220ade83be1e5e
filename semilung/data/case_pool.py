"""Parallel work on many cases, with a progress bar; a case that fails stops no other."""

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
"""Reason of a job's failure (empty on success), and the warnings that it issued."""


def run_jobs(
    work: Callable[[T], None],
    jobs: Jobs[T],
    *,
    title: str,
    progress: bool = True,
    processes: int | None = None,
) -> dict[str, str]:
    """Call `work` on each item of the named jobs.

    Args:
        work: A function that pickles. A `UserError`, `OSError` or `MemoryError` that it raises is
            returned as the job's failure.
        jobs: Name and item of each job.
        title: Title of the progress bar on standard error.
        progress: Show the bar.
        processes: Number of worker processes; None is one a core, at most 8. 0 uses this process.

    Returns:
        The reason of each failed job, by name. Warnings of the work are issued at the end: those
        of a worker would appear between the bar's lines, or not at all.

    Raises:
        DiskFullError: No space is left; remaining jobs are cancelled.
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
    for warning in (warning for _, issued in done.values() for warning in issued):
        warnings.warn(warning, stacklevel=2)
    return {name: reason for name, (reason, _) in done.items() if reason}


def _run(
    work: Callable[[T], None], jobs: Jobs[T], processes: int | None
) -> Iterator[tuple[str, Done]]:
    """Yield each job's name and outcome, in the order of finishing."""
    count = min(os.cpu_count() or 1, 8) if processes is None else processes
    if min(count, len(jobs)) <= 1:
        yield from ((name, _attempt(work, item)) for name, item in jobs)
        return
    waiting = deque(jobs)
    while waiting:
        # a job that kills its worker breaks the whole pool: retry each in a pool of its own
        for job in (yield from _until_broken(work, waiting, min(count, len(waiting)))):
            if (yield from _until_broken(work, deque([job]), 1)):
                yield job[0], ("its worker process died, perhaps of too little memory", [])


def _until_broken(
    work: Callable[[T], None], waiting: deque[tuple[str, T]], count: int
) -> Generator[tuple[str, Done], None, list[tuple[str, T]]]:
    """Run the waiting jobs, a few submitted at a time; return those that a worker's death left.

    Jobs still in `waiting` afterwards have not been submitted.
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
    """End a worker when its parent is killed; it would wait for its next job for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _attempt(work: Callable[[T], None], item: T) -> Done:
    reason = ""
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always", UserWarning)  # the parent applies its own filters
        try:
            work(item)
        except DiskFullError:  # the other jobs would fail too
            raise
        except (UserError, OSError, MemoryError) as error:
            reason = str(error) or "out of memory"
    return reason, [each.message for each in issued]
