"""Files of several scans, here or on a cluster; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from semilung.api.cluster_prediction import predict_on_cluster
from semilung.api.load import LoadedRun
from semilung.api.paths import PathLike, listed
from semilung.api.run_source import RunSource, require_source
from semilung.api.scan_request import ScanRequest, failure_line
from semilung.data.io.volume import require_volume_path
from semilung.files import DiskFullError
from semilung.inference.scan_progress import ScanProgress
from semilung.types import UserError


def readable_scans(scans: PathLike | Sequence[PathLike]) -> list[Path]:
    """Return scans as a list.

    Raises:
        UserError: There is none, or one does not exist or is of no readable format.
    """
    paths = listed(scans, "scans")
    for path in paths:
        require_volume_path(path)
    return paths


def write_scan_files(
    run: LoadedRun,
    source: RunSource | None,
    names: Mapping[Path, str],
    request: ScanRequest,
    *,
    write_lists: Callable[[Mapping[str, Path]], list[Path]],
    resume: bool,
    progress: bool,
    scheduler: str | None,
) -> list[Path]:
    """Predict scans, and write the files of each and those that list all of them.

    Args:
        run: The nets.
        source: Where workers of a cluster load them; None if only `run` is known.
        names: Scan to its name, from `output_names`.
        request: What is written of each scan.
        write_lists: Writes the files that list the scans that were predicted, name to scan, and
            returns them; it is not called without any.
        resume: Leave out scans whose files exist.
        progress: Show scans and windows on standard error.
        scheduler: `local` or the address of a Dask scheduler; None predicts in this process.

    Returns:
        The files written, without pictures.

    Raises:
        UserError: Scans that could not be predicted; or the run has no source for a cluster.
    """
    todo = {n: scan for scan, n in names.items() if not (resume and request.is_written(n))}
    if scheduler is None:
        failures, untried = _predict_here(run, todo, request, progress=progress)
    else:
        failures, untried = predict_on_cluster(
            require_source(source), todo, request, scheduler=scheduler, progress=progress
        ), set[str]()  # fmt: skip
    done = {n: scan for scan, n in names.items() if n not in failures and n not in untried}
    written = [path for name in done if name in todo for path in request.written(name)]
    if done:
        written += write_lists(done)
    if failures:
        raise failure_summary(list(failures.values()), untried, scans=len(names), out=request.out)
    return written


def _predict_here(
    run: LoadedRun, scans: Mapping[str, Path], request: ScanRequest, *, progress: bool
) -> tuple[dict[str, str], set[str]]:
    """Predict scans one after another; return reasons of failures, and scans that were not tried.

    A full disk ends the work.
    """
    failures: dict[str, str] = {}
    untried = set(scans)
    with ScanProgress(len(scans), shown=progress) as bar:
        for name, scan in scans.items():
            untried.remove(name)
            bar.begin(name)
            try:
                request.fulfil(run, scan, name, bar.windows)
            except Exception as error:  # an error of one scan is none of the others'
                failures[name] = failure_line(scan, error)
                if isinstance(error, DiskFullError):
                    break
    return failures, untried


def failure_summary(
    failures: Sequence[str], untried: Collection[str], *, scans: int, out: Path
) -> UserError:
    """Return an error with the scans that failed, a line each, and what became of the others."""
    lines = [f"{len(failures)} of {scans} scans could not be predicted:", *failures]
    if untried:
        lines.append(f"{len(untried)} were not tried")
    if len(failures) + len(untried) < scans:
        lines.append(f"The others are in {out}")
    return UserError("\n".join(lines))
