"""Jobs on a Dask cluster: this machine's, or an institute's by the address of its scheduler.

Dask repeats the jobs of a worker that is lost. Outcomes are fetched as they come, so what is
finished is not repeated; only where a worker is lost in the moment between is a job begun again,
and it must see that its files are there.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from socket import create_connection
from typing import Any, TypeVar
from uuid import uuid4

from semilung.jobs.attempt import DIED, Done, Jobs, attempt
from semilung.types import UserError

T = TypeVar("T")

WAITING_JOBS = 4
"""Jobs submitted for each thread of the cluster; more of them would only load its scheduler."""

CONNECT_S = 20
"""Seconds to wait for a scheduler."""


def run_on_dask(
    work: Callable[[T], None], jobs: Jobs[T], scheduler: str, processes: int
) -> Iterator[tuple[str, Done]]:
    """Yield each job's name and outcome, in the order of finishing.

    Args:
        work: A function that pickles; its files must be at the same paths for every worker.
        jobs: Name and item of each job.
        scheduler: `local`, or an address such as `tcp://node7:8786`.
        processes: Number of workers of a local cluster.

    Raises:
        DiskFullError: No space is left; remaining jobs are cancelled.
        UserError: The extra `dask` is not installed, no scheduler answers at the address, or it
            was lost before all jobs ended.
    """
    with _client(scheduler, min(max(processes, 1), len(jobs))) as client:
        suspects = yield from _finished(client, work, jobs)
        # Dask blames all jobs that waited at the workers that were lost: repeat each alone
        for job in suspects:
            if (yield from _finished(client, work, [job])):
                yield job[0], DIED


def _finished(
    client: Any, work: Callable[[T], None], jobs: Jobs[T]
) -> Generator[tuple[str, Done], None, list[tuple[str, T]]]:
    """Yield the jobs that end, and return those that Dask gave up."""
    from distributed import KilledWorker, as_completed

    name = uuid4().hex
    items = dict(jobs)
    waiting = (client.submit(attempt, work, items[key], key=(name, key)) for key in items)
    threads = sum(client.nthreads().values())
    running = as_completed(islice(waiting, WAITING_JOBS * max(threads, 8)), loop=client.loop)
    suspects = []
    for future in running:
        key = future.key[1]
        if future.status == "cancelled":
            raise UserError(
                f"the Dask scheduler at {client.scheduler.address} ended before the work did. What "
                f"is done is on disk: run the same command again for the rest"
            )
        error = future.exception()
        if isinstance(error, KilledWorker):
            suspects.append((key, items[key]))
        elif error is not None:
            raise error
        else:
            yield key, future.result()
        future.release()
        running.update(list(islice(waiting, 1)))
    return suspects


@contextmanager
def _client(scheduler: str, workers: int) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise UserError(
            f"a Dask scheduler (--scheduler {scheduler}) needs the package distributed: "
            f"pip install 'semilung[dask]'"
        ) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a lost worker is no error here
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler == "local":
            address = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            )
        with _answering(scheduler):
            if scheduler != "local":  # a client would try for long where nothing listens
                create_connection(get_address_host_port(scheduler), timeout=CONNECT_S).close()
            client = stack.enter_context(Client(address, timeout=CONNECT_S, set_as_default=False))
        if not client.nthreads():
            warnings.warn(
                f"the Dask scheduler {scheduler} has no worker yet: waiting for one", stacklevel=2
            )
        yield client


@contextmanager
def _answering(scheduler: str) -> Iterator[None]:
    """Turn the errors of a connection into a UserError."""
    try:
        yield
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"no Dask scheduler answers at {scheduler!r} ({error}). Start one (`dask scheduler`, "
            f"then `dask worker ADDRESS --nthreads 1`) and give the address that it prints, such "
            f"as tcp://node7:8786, or 'local'"
        ) from error
