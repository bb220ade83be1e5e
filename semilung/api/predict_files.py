"""`semilung predict`: files of several scans; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from semilung.api.load import LoadedRun
from semilung.api.paths import PathLike
from semilung.api.prediction_files import require_format
from semilung.api.run_source import Runs, loaded
from semilung.api.scan_files import readable_scans, write_scan_files
from semilung.api.scan_request import ScanRequest
from semilung.inference.output_files import FORMATS, output_names, written_kinds
from semilung.inference.pseudo_labels import (
    PSEUDO,
    require_pseudo_labels,
    write_pseudo_manifest,
)
from semilung.suggestions import require_choice
from semilung.types import UserError
from semilung.writers.frames import FRAMES, LPS
from semilung.writers.scan_page import write_index


def predict(
    runs: Runs,
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
    frame: str = LPS,
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
        frame: `lps` or `ras`, of the coordinates of findings; LUNA16's tables are LPS+.
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
            that could not be predicted.
    """
    _require_series(series, pseudo_labels=confident is not None)
    scans, out = readable_scans(scans), Path(out)
    require_choice("frame", frame, tuple(FRAMES))
    require_format(format, scans)
    run, source = loaded(runs, checkpoint, settings)
    run.predictor(threshold)  # refuses a threshold out of range
    outputs = _outputs(run, probability=probability, pseudo_labels=confident is not None)
    kinds = written_kinds(outputs, format, page=page)
    replaces = overwrite or resume
    names = output_names(scans, out, kinds, overwrite=replaces, format_=format)
    if confident is not None:
        require_pseudo_labels(out, confident, overwrite=replaces)
    return write_scan_files(
        run,
        source,
        names,
        ScanRequest(
            out, tuple(kinds), format, threshold=threshold, confident=confident, series=series,
            overwrite=overwrite, frame=frame,
        ),
        write_lists=partial(_write_lists, out, pseudo_labels=confident is not None, page=page),
        resume=resume,
        progress=progress,
        scheduler=scheduler,
    )  # fmt: skip


def _require_series(series: str | None, *, pseudo_labels: bool) -> None:
    """Raise UserError where a series is to become a pseudo-label."""
    if pseudo_labels and series is not None:
        raise UserError(
            "a series (--series) and pseudo-labels (--pseudo-labels) do not go together, because "
            "the manifest would name the folder alone: give the scan as FOLDER#SERIES instead, "
            "such as study#3"
        )


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
