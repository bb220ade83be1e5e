"""`semilung characterize --run`: descriptions of given nodules by a run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from semilung.api.given_findings import (
    GivenFindings,
    all_rows,
    findings_of_masks,
    findings_of_table,
)
from semilung.api.load import LoadedRun
from semilung.api.paths import PathLike, listed, require_csv
from semilung.api.run_source import Runs, loaded
from semilung.api.scan_files import failure_summary, readable_scans
from semilung.api.scan_request import failure_line
from semilung.csv_tables import write_csv
from semilung.data.io.volume import read_volume, stem_of
from semilung.exhaustion import explain_memory_errors
from semilung.inference.output_files import longest_name
from semilung.inference.scan_progress import ScanProgress
from semilung.suggestions import require_choice
from semilung.tasks import Task, describing_tasks
from semilung.types import UserError
from semilung.writers.frames import FRAMES

TABLES = (".csv", ".tsv", ".txt")
"""Endings of tables; other files are masks."""

PREDICTED = "_predicted"
"""Ending of a column of descriptions where the table has one of the target's name."""


def describe(
    runs: Runs,
    findings: PathLike | Sequence[PathLike],
    scans: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    checkpoint: str = "last",
    settings: Sequence[str] = (),
    frame: str | None = None,
    overwrite: bool = False,
    series: str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Describe given nodules of scans, and write their rows with a column for each target.

    The whole of a scan is predicted, not its lungs alone. A target whose name is a column of the
    table already gets the column `<target>_predicted`. The cells of a nodule are empty where its
    scan failed.

    Args:
        runs: A run's folder, or several, whose evidence is averaged; or what `load` returned.
        findings: A CSV table of findings with LUNA16's columns (`seriesuid` or `case`, `coordX`,
            `coordY`, `coordZ`) and `diameter_mm`; or the mask of each scan, in their order, whose
            labels, or components, are the nodules.
        scans: CT volumes, or folders of DICOM slices; their names without ending are those of the
            table.
        out: The CSV file to write.
        checkpoint: `last` or `best`, of folders.
        settings: `inference.key=value` words in place of the first run's settings, of folders.
        frame: `lps` or `ras`, of the coordinates; by default that of the table's column `frame`, or
            else LPS+.
        overwrite: Replace `out` if it exists.
        series: Which series of each DICOM folder, by its number; None where there is one.
        progress: Show scans and windows on standard error.

    Returns:
        The table that was written.

    Raises:
        UserError: Before anything is predicted: a run without characterization, a file that cannot
            be read or lacks a column, a finding outside of its scan, scans without findings, a mask
            on another grid or without a nodule, `out` exists. At the end: scans that failed.

    Warns:
        UserWarning: A scan without findings, next to others that have some.

    Example:
        >>> describe("runs/all", "findings.csv", "a.nii.gz", "described.csv")  # doctest: +SKIP
    """
    scans, out = readable_scans(scans), require_csv(out, "--out")
    if frame is not None:
        require_choice("frame", frame, tuple(FRAMES))
    run, task = _describing(loaded(runs, checkpoint, settings)[0])
    by_scan = _findings(listed(findings, "findings"), scans, frame, series)
    rows = all_rows(by_scan)
    names = _column_names(list(rows.columns), task)
    if out.exists() and not overwrite:
        raise UserError(
            f"{out} exists already; add --overwrite (overwrite=True in Python) to replace it, or "
            f"choose another --out"
        )
    longest_name(out.parent)  # refuses a folder that cannot be written
    parts, failures = _described(run, task, by_scan, series=series, progress=progress)
    if not parts:
        raise failure_summary(failures, (), scans=len(by_scan), out=out)
    columns = pd.concat(parts).reindex(rows.index).rename(columns=names)
    table = rows.join(columns)
    write_csv(out, table)
    if failures:
        raise failure_summary(failures, (), scans=len(by_scan), out=out)
    return table


def _describing(run: LoadedRun) -> tuple[LoadedRun, Task]:
    """Return a run for its task that describes nodules, and the task.

    Raises:
        UserError: It has none.
    """
    names = describing_tasks(run.tasks)
    if not names:
        raise UserError(
            f"the run describes no nodules, its tasks are {', '.join(run.tasks)}; give one that "
            f"was trained with tasks=characterization"
        )
    whole = replace(run.config, data=replace(run.config.data, crop_to_lungs=False))
    run = replace(run, config=whole).for_tasks(names[:1])
    return run, run.tasks[names[0]]


def _findings(
    paths: Sequence[Path], scans: Sequence[Path], frame: str | None, series: str | None
) -> dict[Path, GivenFindings]:
    """Return the findings of each scan that has any; warn of the others."""
    if len({stem_of(scan) for scan in scans}) < len(scans):
        raise UserError(f"two scans have one name: {sorted(map(stem_of, scans))}; rename one")
    tables = [path for path in paths if path.suffix.lower() in TABLES]
    if not tables:
        return findings_of_masks(paths, scans, frame, series)
    if len(paths) > 1:
        raise UserError(
            f"got {len(paths)} files of findings, {tables[0]} among them; give one table with the "
            f"findings of all scans, or the mask of each scan"
        )
    by_scan = findings_of_table(tables[0], scans, frame, series)
    without = [stem_of(scan) for scan in scans if scan not in by_scan]
    if not by_scan:
        raise UserError(f"{tables[0]}: no row is of a given scan, {', '.join(without)[:200]}")
    if without:
        warnings.warn(
            f"{tables[0]} has no findings of {len(without)} of {len(scans)} scans: "
            f"{', '.join(without)[:200]}",
            stacklevel=3,
        )
    return by_scan


def _column_names(present: Sequence[str], task: Task) -> dict[str, str]:
    """Return the name of each target's column, which no other column of the table has."""
    names = {n: f"{n}{PREDICTED}" if n in present else n for n in task.descriptions}
    if clashes := [name for name in names.values() if name in present]:
        raise UserError(
            f"the table has a column {clashes[0]} already; rename or remove it, for descriptions "
            f"are written there"
        )
    return names


def _described(
    run: LoadedRun, task: Task, by_scan: Mapping[Path, GivenFindings], *, series: str | None,
    progress: bool,
) -> tuple[list[pd.DataFrame], list[str]]:  # fmt: skip
    """Return the descriptions of the nodules of each scan, and why others failed, a line each."""
    parts, failures = [], []
    predictor = run.predictor()
    with ScanProgress(len(by_scan), shown=progress) as bar:
        for path, findings in by_scan.items():
            bar.begin(stem_of(path))
            try:
                with explain_memory_errors("a smaller inference.memory_gib"):
                    scan = read_volume(path, series=series)
                    mask = findings.outlines(scan)
                    predicted = predictor.volume_maps(
                        scan, stem_of(path), source=str(path), progress=bar.windows
                    )
                    described = task.annotate(findings.numbers, predicted, mask)
            except Exception as error:  # an error of one scan is none of the others'
                failures.append(failure_line(path, error))
            else:
                parts.append(described[[*task.descriptions]])
    return parts, failures
