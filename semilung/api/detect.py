"""`semilung detect`: findings of scans as tables and pages, without masks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from semilung.api.load import LoadedRun
from semilung.api.paths import PathLike
from semilung.api.run_source import Runs, loaded
from semilung.api.scan_files import readable_scans, write_scan_files
from semilung.api.scan_request import ScanRequest
from semilung.inference.output_files import FORMATS, TABLE, output_names, written_kinds
from semilung.suggestions import require_choice
from semilung.tasks import describing_tasks, finding_task
from semilung.writers.findings_folder import require_common_tables, write_common_tables
from semilung.writers.frames import FRAMES, LPS
from semilung.writers.scan_page import write_index


def detect(
    runs: Runs,
    scans: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    checkpoint: str = "last",
    settings: Sequence[str] = (),
    min_probability: float | None = None,
    frame: str = LPS,
    overwrite: bool = False,
    resume: bool = False,
    series: str | None = None,
    progress: bool = False,
    scheduler: str | None = None,
) -> list[Path]:
    """Write the findings of every scan into a folder: tables, JSON and a page with pictures.

    Of each scan these are `<scan>_findings.csv`, `<scan>_findings.json` and `<scan>.html`; of all
    scans in the folder, those of earlier calls too, `findings.csv`, `scans.csv` and `index.html`.
    A run that was trained for detection predicts centres, and its mask is not computed; the
    findings of a run of segmentation alone are the components of its mask. A run that was trained
    for characterization describes them in further columns.

    Args:
        runs: A run's folder, or several, which must prepare scans alike and are averaged; or what
            `load` returned.
        scans: CT volumes, or folders of DICOM slices; one that fails does not stop the others.
        out: Folder of the files.
        checkpoint: `last` or `best`, of folders.
        settings: `inference.key=value` words in place of the first run's settings, of folders.
        min_probability: Least probability of a finding, in (0, 1); the first run's by default.
        frame: `lps` (as LUNA16 and DICOM) or `ras` (as NIfTI), of all coordinates that are written.
        overwrite: Replace files that exist.
        resume: Leave out scans whose files exist, so that the same call goes on where it stopped.
        series: Which series of each DICOM folder, by its number; None where there is one.
        progress: Show scans and windows on standard error.
        scheduler: `local` for a Dask cluster of this machine, or the address of a Dask scheduler;
            the runs are folders then.

    Returns:
        The files written, without the pictures.

    Raises:
        UserError: Before anything is predicted: a scan that does not exist or is of no readable
            format, a run that cannot be loaded or predicts no findings, runs that prepare scans
            differently, two scans of one name, a name that is too long, an existing file, findings
            of another frame in the folder, a folder that cannot be written, a value out of range.
            At the end: scans that could not be predicted.

    Example:
        >>> detect("runs/both", ["a.nii.gz", "b.nii.gz"], "findings")[-1]  # doctest: +SKIP
        PosixPath('findings/index.html')
    """
    scans, out = readable_scans(scans), Path(out)
    require_choice("frame", frame, tuple(FRAMES))
    run, source = loaded(runs, checkpoint, settings)
    tasks = (finding_task(run.tasks), *describing_tasks(run.tasks))
    run, source = run.for_tasks(tasks), source and replace(source, tasks=tasks)
    _require_effect(run, min_probability)
    kinds = written_kinds([TABLE], FORMATS[0], page=True)
    names = output_names(scans, out, kinds, overwrite=overwrite or resume)
    replaced = names.values() if overwrite else ()
    require_common_tables(out, frame, replaced, overwrite=overwrite)
    return write_scan_files(
        run,
        source,
        names,
        ScanRequest(
            out,
            tuple(kinds),
            min_probability=min_probability,
            series=series,
            overwrite=overwrite,
            frame=frame,
        ),
        write_lists=partial(_write_lists, out),
        resume=resume,
        progress=progress,
        scheduler=scheduler,
    )


def _require_effect(run: LoadedRun, min_probability: float | None) -> None:
    """Warn where a least probability leaves all findings in.

    Raises:
        UserError: It is out of range.
    """
    task = run.tasks_at(min_probability)[finding_task(run.tasks)]
    threshold = run.config.inference.threshold
    if min_probability is not None and not task.centres and min_probability <= threshold:
        warnings.warn(
            f"--min-probability {min_probability:g} has no effect: the findings are components of "
            f"the mask, whose voxels are above the threshold {threshold:g}; for less probable "
            f"findings lower it, as with inference.threshold={min_probability:g}",
            stacklevel=3,
        )


def _write_lists(out: Path, done: Mapping[str, Path]) -> list[Path]:
    return [*write_common_tables(out), write_index(out)]
