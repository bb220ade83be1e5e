"""Prediction of many scans on a Dask cluster; each worker loads the runs once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from semilung.api.load import LoadedRun, load
from semilung.api.scan_request import ScanRequest, failure_line
from semilung.jobs import run_jobs
from semilung.types import UserError


def predict_on_cluster(
    runs: Sequence[Path],
    scans: Mapping[str, Path],
    request: ScanRequest,
    *,
    checkpoint: str,
    settings: Sequence[str],
    scheduler: str,
    progress: bool,
) -> dict[str, str]:
    """Predict scans on the workers of a cluster.

    Args:
        runs: Folders of the runs, at the same path for every worker, as the scans and the output.
        scans: Name to scan.
        request: What is written of each.
        checkpoint: `last` or `best`.
        settings: `inference.key=value` words in place of the first run's settings.
        scheduler: `local`, or the address of a Dask scheduler.
        progress: Show a progress bar on standard error.

    Returns:
        The reason of each scan that failed, by name.

    Raises:
        DiskFullError: No space is left.
        UserError: No scheduler answers, or it was lost.
    """
    work = partial(
        _predict_scan,
        runs=tuple(run.absolute() for run in runs),
        checkpoint=checkpoint,
        settings=tuple(settings),
        request=replace(request, out=request.out.absolute()),
    )
    jobs = [(name, (name, scan.absolute())) for name, scan in scans.items()]
    return run_jobs(work, jobs, title="Predicting", progress=progress, scheduler=scheduler)


def _predict_scan(
    item: tuple[str, Path],
    *,
    runs: tuple[Path, ...],
    checkpoint: str,
    settings: tuple[str, ...],
    request: ScanRequest,
) -> None:
    name, scan = item
    if request.is_written(name) and not request.overwrite:
        return  # by a worker that was lost before it could say so
    try:
        request.fulfil(_loaded(runs, checkpoint, settings), scan, name)
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # an error of one scan is none of the others'
        raise UserError(failure_line(scan, error)) from error


@lru_cache(maxsize=1)
def _loaded(runs: tuple[Path, ...], checkpoint: str, settings: tuple[str, ...]) -> LoadedRun:
    return load(runs, checkpoint=checkpoint, settings=settings)
