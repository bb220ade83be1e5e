"""Given nodules of scans, which a run describes: rows of a table, or the nodules of masks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.data import Volume
from semilung.data.content.nodule_instances import MOST, read_instances
from semilung.data.io.dicom.series_path import series_path
from semilung.data.io.grid import Grid, contains, voxel_of
from semilung.data.io.opened_volume import LPS_TO_RAS
from semilung.data.io.volume import read_grid, stem_of
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.evaluation.finding_tables import finding_table
from semilung.inference.findings import COORDINATES, LUNA16_COLUMNS, label_findings
from semilung.types import IGNORE, UserError
from semilung.writers.frames import FRAME_COLUMN, FRAMES, LPS, in_frame

SCAN_COLUMNS = (LUNA16_COLUMNS[0], "case")
"""Columns that name a row's scan, the first of them that is there."""

NUMBERS = (*COORDINATES, "diameter_mm")
GIVEN = TableKind("a table of findings", (SCAN_COLUMNS[0], *NUMBERS), "a finding")


@dataclass(frozen=True, eq=False)
class GivenFindings:
    """The findings of one scan.

    Attributes:
        numbers: `coordX`, `coordY`, `coordZ` (centre in LPS+ mm) and `diameter_mm`, whose index is
            that of the rows that are written.
        rows: The rows as they are written.
        mask: File with their outlines; None where they are balls.
    """

    numbers: pd.DataFrame
    rows: pd.DataFrame
    mask: Path | None = None

    def outlines(self, scan: Volume) -> Volume | None:
        """Return the label of each nodule on the scan's grid; None where they are balls."""
        return None if self.mask is None else read_instances(self.mask, scan)


def findings_of_table(
    path: Path, scans: Sequence[Path], frame: str | None, series: str | None = None
) -> dict[Path, GivenFindings]:
    """Read a table of findings, LUNA16's columns and `diameter_mm` among others.

    Args:
        path: CSV, a row a finding; `seriesuid` or `case` is the name of its scan.
        scans: CT volumes, or folders of DICOM slices.
        frame: Of the coordinates; None for that of the column `frame`, or else LPS+.
        series: Which series of each DICOM folder, by its number; None where there is one.

    Returns:
        Scan to its findings, for scans that have any.

    Raises:
        UserError: The file is no such table, a column is missing, a number is invalid, a row is of
            another scan or outside of its scan, no scan has a row, or frames differ.
    """
    rows = read_table(path, GIVEN)
    name = next((column for column in SCAN_COLUMNS if column in rows), SCAN_COLUMNS[0])
    numbers = finding_table(rows, (name, *NUMBERS), str(path))
    if len(invalid := numbers[~numbers["diameter_mm"].gt(0)]):
        raise UserError(
            f"{path}: diameter_mm must be above 0 mm, got {invalid['diameter_mm'].iloc[0]:g} in "
            f"row {invalid.index[0] + 1} of {len(numbers)}; correct or remove it"
        )
    frame = _frame(path, rows, frame)
    lps = in_frame(numbers, frame)[[name, *NUMBERS]]  # negating x and y leads back, too
    by_name = {stem_of(scan): scan for scan in scans}
    others = sorted(set(lps[name]) - set(by_name))
    if others:
        raise UserError(
            f"{path}: {len(others)} of its {lps[name].nunique()} scans were not given, such as "
            f"{others[0]}; give all of them (--scan), whose file names without ending are the "
            f"column {name}, or remove their rows. Given: {', '.join(sorted(by_name))[:200]}"
        )
    for scan_name, part in lps.groupby(name):
        scan = by_name[str(scan_name)]
        _require_inside(path, part, _grid(scan, series), stem_of(scan), frame)
    return {
        by_name[str(scan_name)]: GivenFindings(part, rows.loc[part.index])
        for scan_name, part in lps.groupby(name, sort=False)
    }


def findings_of_masks(
    masks: Sequence[Path], scans: Sequence[Path], frame: str | None, series: str | None = None
) -> dict[Path, GivenFindings]:
    """Read the nodules of masks: their labels, or the components of a mask of one label.

    Args:
        masks: One of each scan, in their order, on the scan's grid.
        scans: CT volumes, or folders of DICOM slices.
        frame: Of the coordinates that are written; None for LPS+.
        series: Which series of each DICOM folder, by its number; None where there is one.

    Returns:
        Scan to its findings, columns as those of `detect` without a probability.

    Raises:
        UserError: There is not a mask a scan, or a mask cannot be read, is on another grid or holds
            no nodule.
    """
    if len(masks) != len(scans):
        raise UserError(
            f"got {len(masks)} masks of {len(scans)} scans; give the mask of each scan, in the "
            f"order of the scans (--scan)"
        )
    findings, first = {}, 0
    for mask, scan in zip(masks, scans, strict=True):
        labels = read_instances(mask, _grid(scan, series))
        labels.data[labels.data == IGNORE] = 0
        table = label_findings(labels, stem_of(scan))
        if table.empty:
            raise UserError(f"{mask}: the mask holds no nodule; leave it and its scan out")
        if len(table) == MOST:
            warnings.warn(
                f"{mask} holds {MOST} nodules or more, and the smallest of them may be one row; "
                f"remove specks from the mask",
                stacklevel=4,
            )
        table.index += first
        first += len(table)
        findings[scan] = GivenFindings(table[[*NUMBERS]], in_frame(table, frame or LPS), mask)
    return findings


def _frame(path: Path, rows: pd.DataFrame, frame: str | None) -> str:
    """Return the frame of a table's coordinates, which its column `frame` may state."""
    written = sorted({str(value) for value in rows.get(FRAME_COLUMN, ())})
    stated = {value.strip().lower().removesuffix("+") for value in written}
    if not any(stated):
        return frame or LPS
    name = next(iter(stated))
    if len(stated) > 1 or name not in FRAMES:
        raise UserError(
            f"{path}: its column {FRAME_COLUMN} holds {', '.join(map(repr, written))}; "
            f"write LPS or RAS, the same one in each row, or remove the column and give --frame"
        )
    if frame not in (None, name):
        raise UserError(
            f"{path}: its column {FRAME_COLUMN} says {name.upper()}, and --frame is "
            f"{frame.upper()}; leave --frame out, or correct the column"
        )
    return name


def _grid(scan: Path, series: str | None) -> Grid:
    return read_grid(scan if series is None else series_path(scan, series))


def _require_inside(path: Path, part: pd.DataFrame, grid: Grid, scan: str, frame: str) -> None:
    """Raise UserError unless all findings of a scan have their centres in it."""
    points = part[[*COORDINATES]].to_numpy(float)
    outside = [not _is_inside(grid, point) for point in points]
    if not any(outside):
        return
    turned = all(_is_inside(grid, point * (-1, -1, 1)) for point in points)
    other = {"lps": "ras", "ras": "lps"}[frame]
    hint = f"they fit as {other.upper()}+ (--frame {other})" if turned else (
        "correct or remove them"
    )  # fmt: skip
    row = part.index[outside.index(True)]
    raise UserError(
        f"{path}: {sum(outside)} of {len(part)} findings of {scan} lie outside of the "
        f"scan when read as {frame.upper()}+, the first in row {row + 1}; {hint}"
    )


def _is_inside(grid: Grid, lps_mm: NDArray[np.float64]) -> bool:
    ras_mm = (LPS_TO_RAS @ [*lps_mm, 1])[:3]
    return contains(grid.shape, voxel_of(grid.affine, ras_mm.tolist()))


def all_rows(findings: Mapping[Path, GivenFindings]) -> pd.DataFrame:
    """Return the rows of all scans in their order."""
    return pd.concat([each.rows for each in findings.values()]).sort_index()
