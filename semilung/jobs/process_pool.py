"""Jobs in worker processes of this machine; one that kills its worker stops no other."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process
from threading import Thread
from typing import TypeVar

from semilung.files import DiskFullError
from semilung.jobs.attempt import DIED, Done, Jobs, attempt

T = TypeVar("T")


def run_in_pool(work: Callable[[T], None], jobs: Jobs[T], count: int) -> Iterator[tuple[str, Done]]:
    """Yield each job's name and outcome, in the order of finishing.

    Args:
        work: A function that pickles.
        jobs: Name and item of each job.
        count: Number of worker processes, at least 1.
    """
    waiting = deque(jobs)
    while waiting:
        # a job that kills its worker breaks the whole pool: retry each in a pool of its own
        for job in (yield from _until_broken(work, waiting, min(count, len(waiting)))):
            if (yield from _until_broken(work, deque([job]), 1)):
                yield job[0], DIED


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
                    running[pool.submit(attempt, work, waiting[0][1])] = waiting[0]
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
