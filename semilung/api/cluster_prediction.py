"""Prediction of many scans on a Dask cluster; each worker loads the runs once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from semilung.api.load import LoadedRun
from semilung.api.run_source import RunSource
from semilung.api.scan_request import ScanRequest, failure_line
from semilung.jobs import run_jobs
from semilung.types import UserError


def predict_on_cluster(
    source: RunSource,
    scans: Mapping[str, Path],
    request: ScanRequest,
    *,
    scheduler: str,
    progress: bool,
) -> dict[str, str]:
    """Predict scans on the workers of a cluster.

    Args:
        source: The runs, at the same path for every worker, as the scans and the output.
        scans: Name to scan.
        request: What is written of each.
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
        source=source.absolute,
        request=replace(request, out=request.out.absolute()),
    )
    jobs = [(name, (name, scan.absolute())) for name, scan in scans.items()]
    return run_jobs(work, jobs, title="Predicting", progress=progress, scheduler=scheduler)


def _predict_scan(item: tuple[str, Path], *, source: RunSource, request: ScanRequest) -> None:
    name, scan = item
    if request.is_written(name) and not request.overwrite:
        return  # by a worker that was lost before it could say so
    try:
        request.fulfil(_loaded(source), scan, name)
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # an error of one scan is none of the others'
        raise UserError(failure_line(scan, error)) from error


@lru_cache(maxsize=1)
def _loaded(source: RunSource) -> LoadedRun:
    return source.load()
