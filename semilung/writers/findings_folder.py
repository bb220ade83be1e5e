"""Findings of all scans of a folder: one table of them, and the list of scans."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.csv_tables import read_cell, write_csv
from semilung.files import read_json
from semilung.inference.findings import FINDING_COLUMNS, LUNA16_COLUMNS
from semilung.inference.output_files import JSON, TABLE, output
from semilung.types import UserError
from semilung.writers.findings_json import SCHEMA
from semilung.writers.frames import frame_named

FINDINGS, SCANS = "findings.csv", "scans.csv"
"""Files of all scans: their findings, and their names with the number of findings of each."""


def scan_records(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each scan in a folder and the content of its `<scan>_findings.json`.

    Scans are in the order of their names. Damaged files and those of other programs are left out.
    """
    for path in sorted(folder.glob(f"*_{JSON}")):
        try:
            record = read_json(path)
        except UserError:
            continue
        if isinstance(record, dict) and record.get("schema") == SCHEMA:
            yield path.name.removesuffix(f"_{JSON}"), record


def require_common_tables(
    folder: Path, frame: str, replaced: Collection[str], *, overwrite: bool
) -> None:
    """Check, before anything is predicted, that the tables of all scans can be written.

    Args:
        folder: Of the files; it need not exist.
        frame: Of the coordinates of findings.
        replaced: Names of the scans whose files are written anew.
        overwrite: Whether files of the tables' names that are no such tables are replaced.

    Raises:
        UserError: The folder has findings in another frame, or another file of a table's name.
    """
    others = dict(scan_records(folder))
    for name, record in others.items():
        present = frame_named(record.get("coordinate_frame"))
        if name not in replaced and present not in (None, frame):
            raise UserError(
                f"{folder} has findings of {name} in {present.upper()}+, which cannot be in one "
                f"table with {frame.upper()}+; give --frame {present}, or another --out"
            )
    existing = [file for file in (FINDINGS, SCANS) if (folder / file).exists()]
    if existing and not others and not overwrite:
        raise UserError(
            f"{folder} has a {existing[0]} that is not of scans in this folder; add --overwrite "
            f"(overwrite=True in Python) to replace it, or choose another --out"
        )


def write_common_tables(folder: Path) -> list[Path]:
    """Write `findings.csv` and `scans.csv` of all scans of a folder, those of earlier calls too.

    Scans without findings are in the second alone, which is the list of scans that an evaluation
    needs.

    Returns:
        The two files.

    Raises:
        UserError: A file cannot be written; an existing one is untouched.
    """
    records = {n: r for n, r in scan_records(folder) if output(folder, n, TABLE).is_file()}
    if len(runs := {str(record.get("run")) for record in records.values()}) > 1:
        warnings.warn(
            f"{folder} holds findings of several runs, {', '.join(sorted(runs))}, which are in one "
            f"{FINDINGS}; write those of each run into a folder of its own",
            stacklevel=2,
        )
    tables = {
        str(record.get("scan")): table
        for name, record in records.items()
        if (table := _table(output(folder, name, TABLE))) is not None
    }
    empty = pd.DataFrame(columns=list(FINDING_COLUMNS))
    findings = pd.concat([empty, *tables.values()], ignore_index=True)
    counts = [len(table) for table in tables.values()]
    write_csv(folder / FINDINGS, findings)
    write_csv(folder / SCANS, pd.DataFrame({"seriesuid": list(tables), "findings": counts}))
    return [folder / FINDINGS, folder / SCANS]


def _table(path: Path) -> pd.DataFrame | None:
    """Return a scan's findings, its numbers as they are written; None of a damaged file."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table[list(LUNA16_COLUMNS)]
    except (OSError, ValueError, KeyError):
        warnings.warn(
            f"{path} is no table of findings, so {FINDINGS} is without them; predict its scan "
            f"again with --overwrite",
            stacklevel=3,
        )
        return None
    return table.map(read_cell)
