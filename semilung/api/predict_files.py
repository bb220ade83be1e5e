"""`semilung predict`: files of several scans; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from semilung.api.cluster_prediction import predict_on_cluster
from semilung.api.load import LoadedRun, load
from semilung.api.paths import PathLike, listed
from semilung.api.prediction_files import require_format
from semilung.api.scan_request import ScanRequest, failure_line
from semilung.data.io.volume import require_volume_path
from semilung.files import DiskFullError
from semilung.inference.output_files import FORMATS, output_names, written_kinds
from semilung.inference.pseudo_labels import (
    PSEUDO,
    require_pseudo_labels,
    write_pseudo_manifest,
)
from semilung.inference.scan_progress import ScanProgress
from semilung.types import UserError
from semilung.writers.scan_page import write_index


def predict(
    runs: LoadedRun | PathLike | Sequence[PathLike],
    scans: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    checkpoint: str = "last",
    settings: Sequence[str] = (),
    threshold: float | None = None,
    format: str = FORMATS[0],  # noqa: A002 - as the command's option
    probability: bool = False,
    page: bool = False,
    confident: float | None = None,
    overwrite: bool = False,
    resume: bool = False,
    series: str | None = None,
    progress: bool = False,
    scheduler: str | None = None,
) -> list[Path]:
    """Write mask and findings of every scan into a folder, in the scan's own geometry.

    They are `<scan>_nodules.nii.gz`, `<scan>_findings.csv` and `<scan>_findings.json`.

    Args:
        runs: A run's folder, or several, which must prepare scans alike and are averaged; or what
            `load` returned.
        scans: CT volumes, or folders of DICOM slices; one that fails does not stop the others.
        out: Folder of the masks.
        checkpoint: `last` or `best`, of folders.
        settings: `inference.key=value` words in place of the first run's settings, of folders.
        threshold: Foreground above this probability, in [0, 1); the first run's by default.
        format: Of the volumes: `nii.gz`, `nii`, `mha`, `nrrd`, or `dcm` for a DICOM SEG of the mask
            of a DICOM series (volumes other than the mask are NIfTI then).
        probability: Write `<scan>_probability.nii.gz` too.
        page: Write `<scan>.html` too, a page that shows the findings, their pictures as
            `<scan>_pictures/finding_01.png`, and `index.html`, which lists all pages in `out`.
        confident: Write `<scan>_pseudo.nii.gz` too, the mask with voxels below this confidence set
            to 255, and a `manifest.csv` by which another run can train on them. In [0.5, 1].
        overwrite: Replace masks that exist.
        resume: Leave out scans whose files exist, so that the same call goes on where it stopped.
        series: Which series of each DICOM folder, by its number; None where there is one.
        progress: Show scans and windows on standard error.
        scheduler: `local` for a Dask cluster of this machine, or the address of a Dask scheduler;
            the runs are folders then.

    Returns:
        The files written, without the pictures.

    Raises:
        UserError: Before anything is predicted: a scan that does not exist or is of no readable
            format, a run that cannot be loaded, runs that prepare scans differently, two scans of
            one name, a name that is too long, an existing mask or manifest, a folder that cannot be
            written, a format that a scan cannot have, a confidence out of range. At the end: scans
            that could not be segmented.
    """
    _require_series(series, pseudo_labels=confident is not None)
    scans, out = listed(scans, "scans"), Path(out)
    for scan in scans:
        require_volume_path(scan)
    require_format(format, scans)
    run = _loaded(runs, checkpoint, settings)
    run.predictor(threshold)  # refuses a threshold out of range
    outputs = _outputs(run, probability=probability, pseudo_labels=confident is not None)
    kinds = written_kinds(outputs, format, page=page)
    replaces = overwrite or resume
    names = output_names(scans, out, kinds, overwrite=replaces, format_=format)
    if confident is not None:
        require_pseudo_labels(out, confident, overwrite=replaces)
    request = ScanRequest(out, tuple(kinds), format, threshold, confident, series, overwrite)
    todo = {n: scan for scan, n in names.items() if not (resume and request.is_written(n))}
    if scheduler is None:
        failures, untried = _predict_here(run, todo, request, progress=progress)
    else:
        failures, untried = predict_on_cluster(
            _folders(runs), todo, request, checkpoint=checkpoint, settings=settings,
            scheduler=scheduler, progress=progress,
        ), set[str]()  # fmt: skip
    done = {n: scan for scan, n in names.items() if n not in failures and n not in untried}
    written = [path for name in done if name in todo for path in request.written(name)]
    if done:
        written += _write_lists(out, done, pseudo_labels=confident is not None, page=page)
    if failures:
        raise _summary(list(failures.values()), untried, scans=len(names), out=out)
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


def _folders(runs: LoadedRun | PathLike | Sequence[PathLike]) -> list[Path]:
    """Return the folders of runs, which the workers of a cluster load.

    Raises:
        UserError: The runs are loaded already.
    """
    if isinstance(runs, LoadedRun):
        raise UserError(
            "the workers of a cluster load the runs by themselves; give the runs' folders, and "
            "not what load returned"
        )
    return listed(runs, "runs")


def _require_series(series: str | None, *, pseudo_labels: bool) -> None:
    """Raise UserError where a series is to become a pseudo-label."""
    if pseudo_labels and series is not None:
        raise UserError(
            "a series (--series) and pseudo-labels (--pseudo-labels) do not go together, because "
            "the manifest would name the folder alone: give the scan as FOLDER#SERIES instead, "
            "such as study#3"
        )


def _loaded(
    runs: LoadedRun | PathLike | Sequence[PathLike], checkpoint: str, settings: Sequence[str]
) -> LoadedRun:
    if isinstance(runs, LoadedRun):
        return runs
    return load(listed(runs, "runs"), checkpoint=checkpoint, settings=settings)


def _write_lists(
    out: Path, done: Mapping[str, Path], *, pseudo_labels: bool, page: bool
) -> list[Path]:
    """Write the files that list all scans: the manifest of pseudo-labels, the index of pages."""
    manifest = [write_pseudo_manifest(out, done)] if pseudo_labels else []
    return [*manifest, *([write_index(out)] if page else [])]


def _outputs(run: LoadedRun, *, probability: bool, pseudo_labels: bool) -> list[str]:
    """Return the outputs of the tasks that are written of each scan.

    Raises:
        UserError: Pseudo-labels of a run that predicts no probability.
    """
    kinds = list(dict.fromkeys(kind for task in run.tasks.values() for kind in task.files))
    further = [kind for task in run.tasks.values() for kind in task.optional_files]
    kinds += further if probability else []
    if pseudo_labels and "probability" not in further:
        raise UserError(
            "pseudo-labels (--pseudo-labels) are masks of confident probabilities, which no task "
            "of this run predicts; leave the option out"
        )
    return [*kinds, PSEUDO] if pseudo_labels else kinds


def _summary(
    failures: Sequence[str], untried: Collection[str], *, scans: int, out: Path
) -> UserError:
    """Return an error with the scans that failed, a line each, and what became of the others."""
    lines = [f"{len(failures)} of {scans} scans could not be segmented:", *failures]
    if untried:
        lines.append(f"{len(untried)} were not tried")
    if len(failures) + len(untried) < scans:
        lines.append(f"The others are in {out}")
    return UserError("\n".join(lines))
