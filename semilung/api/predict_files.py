"""`semilung predict`: files of several scans; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from semilung.api.load import LoadedRun, load
from semilung.api.paths import PathLike, listed
from semilung.api.prediction import Prediction
from semilung.api.prediction_files import require_format, write_files
from semilung.data.io.volume import require_volume_path
from semilung.exhaustion import explain_memory_errors
from semilung.files import DiskFullError
from semilung.inference.output_files import FORMATS, output_names, written_kinds
from semilung.inference.pseudo_labels import (
    PSEUDO,
    confident_labels,
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
    series: str | None = None,
    progress: bool = False,
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
        series: Which series of each DICOM folder, by its number; None where there is one.
        progress: Show scans and windows on standard error.

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
    names = output_names(scans, out, kinds, overwrite=overwrite, format_=format)
    if confident is not None:
        require_pseudo_labels(out, confident, overwrite=overwrite)
    done: dict[str, Path] = {}
    written: list[Path] = []
    failures: list[str] = []
    with ScanProgress(len(names), shown=progress) as bar:
        for scan, name in names.items():
            bar.begin(name)
            try:
                with explain_memory_errors(
                    "a smaller inference.memory_gib, or windows of inference.window=[48,48,48]"
                ):
                    prediction = run.predict(
                        scan, threshold=threshold, series=series, progress=bar.windows
                    )
                    written += _write(prediction, out, name, kinds, format, confident)
            except Exception as error:  # an error of one scan is none of the others'
                failures.append(_reason(scan, error))
                if isinstance(error, DiskFullError):
                    break
            else:
                done[name] = scan
    if done:
        written += _write_lists(out, done, pseudo_labels=confident is not None, page=page)
    if failures:
        raise _summary(failures, tried=len(done) + len(failures), scans=len(names), out=out)
    return written


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


def _write(
    prediction: Prediction,
    out: Path,
    name: str,
    kinds: Sequence[str],
    format_: str,
    confident: float | None,
) -> list[Path]:
    outputs = dict(prediction.outputs)
    if confident is not None:
        outputs[PSEUDO] = confident_labels(prediction.mask, prediction.probability, confident)
    return write_files(prediction, outputs, out, name, kinds, format_)


def _summary(failures: Sequence[str], *, tried: int, scans: int, out: Path) -> UserError:
    """Return an error with the scans that failed, a line each, and what became of the others."""
    lines = [f"{len(failures)} of {scans} scans could not be segmented:", *failures]
    if tried < scans:
        lines.append(f"{scans - tried} were not tried")
    if tried > len(failures):
        lines.append(f"The others are in {out}")
    return UserError("\n".join(lines))


def _reason(scan: Path, error: Exception) -> str:
    """Return why a scan failed, in one line that names it."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    return line if str(scan) in line else f"{scan}: {line}"
