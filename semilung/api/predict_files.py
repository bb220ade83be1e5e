"""`semilung predict`: files of several scans; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.api.load import LoadedRun, load
from semilung.api.paths import PathLike, listed
from semilung.api.prediction import Prediction, write_outputs
from semilung.exhaustion import explain_memory_errors
from semilung.files import DiskFullError
from semilung.inference.output_files import output, output_names
from semilung.inference.pseudo_labels import (
    PSEUDO,
    confident_labels,
    require_pseudo_labels,
    write_pseudo_manifest,
)
from semilung.inference.scan_progress import ScanProgress
from semilung.types import UserError


def predict(
    runs: LoadedRun | PathLike | Sequence[PathLike],
    scans: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    checkpoint: str = "last",
    settings: Sequence[str] = (),
    threshold: float | None = None,
    probability: bool = False,
    confident: float | None = None,
    overwrite: bool = False,
    series: str | None = None,
    progress: bool = False,
) -> list[Path]:
    """Write `<scan>_nodules.nii.gz` into a folder for every scan, in the scan's own geometry.

    Args:
        runs: A run's folder, or several, which must prepare scans alike and are averaged; or what
            `load` returned.
        scans: CT volumes, or folders of DICOM slices; one that fails does not stop the others.
        out: Folder of the masks.
        checkpoint: `last` or `best`, of folders.
        settings: `inference.key=value` words in place of the first run's settings, of folders.
        threshold: Foreground above this probability, in [0, 1); the first run's by default.
        probability: Write `<scan>_probability.nii.gz` too.
        confident: Write `<scan>_pseudo.nii.gz` too, the mask with voxels below this confidence set
            to 255, and a `manifest.csv` by which another run can train on them. In [0.5, 1].
        overwrite: Replace masks that exist.
        series: Which series of each DICOM folder, by its number; None where there is one.
        progress: Show scans and windows on standard error.

    Returns:
        The files written.

    Raises:
        UserError: Before anything is predicted: a run that cannot be loaded, runs that prepare
            scans differently, two scans of one name, a name that is too long, an existing mask or
            manifest, a folder that cannot be written, a confidence out of range. At the end: scans
            that could not be segmented.
    """
    if confident is not None and series is not None:
        raise UserError(
            "a series (--series) and pseudo-labels (--pseudo-labels) do not go together, because "
            "the manifest would name the folder alone: give the scan as FOLDER#SERIES instead, "
            "such as study#3"
        )
    if isinstance(runs, LoadedRun):
        run = runs
    else:
        run = load(listed(runs, "runs"), checkpoint=checkpoint, settings=settings)
    scans, out = listed(scans, "scans"), Path(out)
    run.predictor(threshold)  # refuses a threshold out of range
    kinds = _kinds(run, probability=probability, pseudo_labels=confident is not None)
    names = output_names(scans, out, kinds, overwrite=overwrite)
    if confident is not None:
        require_pseudo_labels(out, confident, overwrite=overwrite)
    done: dict[str, Path] = {}
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
                    _write(prediction, out, name, kinds, confident)
            except Exception as error:  # an error of one scan is none of the others'
                failures.append(_reason(scan, error))
                if isinstance(error, DiskFullError):
                    break
            else:
                done[name] = scan
    written = [output(out, name, kind) for name in done for kind in kinds]
    if confident is not None and done:
        written.append(write_pseudo_manifest(out, done))
    if failures:
        raise _summary(failures, tried=len(done) + len(failures), scans=len(names), out=out)
    return written


def _kinds(run: LoadedRun, *, probability: bool, pseudo_labels: bool) -> list[str]:
    """Return what is written of each scan.

    Raises:
        UserError: Pseudo-labels of a run that predicts no probability.
    """
    kinds = [kind for task in run.tasks.values() for kind in task.files]
    further = [kind for task in run.tasks.values() for kind in task.optional_files]
    kinds += further if probability else []
    if pseudo_labels and "probability" not in further:
        raise UserError(
            "pseudo-labels (--pseudo-labels) are masks of confident probabilities, which no task "
            "of this run predicts; leave the option out"
        )
    return [*kinds, PSEUDO] if pseudo_labels else kinds


def _write(
    prediction: Prediction, out: Path, name: str, kinds: Sequence[str], confident: float | None
) -> None:
    outputs = dict(prediction.outputs)
    if confident is not None:
        outputs[PSEUDO] = confident_labels(prediction.mask, prediction.probability, confident)
    write_outputs({output(out, name, kind): outputs[kind] for kind in kinds}, prediction.scan)


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
