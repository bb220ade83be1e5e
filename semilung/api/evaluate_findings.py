"""`semilung evaluate --findings`: FROC of a detector's findings, without a run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from semilung.api.paths import PathLike
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.evaluation import Froc, luna16_froc
from semilung.evaluation.finding_tables import ANNOTATION_COLUMNS, DETECTION_COLUMNS, finding_table
from semilung.inference.findings import COORDINATES
from semilung.types import UserError

FINDINGS = TableKind("a table of findings", DETECTION_COLUMNS, "a mark")
ANNOTATIONS = TableKind("a table of annotations", ANNOTATION_COLUMNS, "a nodule")
EXCLUDED = TableKind("a table of excluded findings", ANNOTATION_COLUMNS, "a finding")
SCANS = TableKind("a list of scans", ("seriesuid",), "a scan")

FEW, MOST = 0.1, 0.5
"""Sensitivities, as tables are and with x and y negated, of tables that seem mixed up in frame."""

_DIGIT = re.compile(r"\d")


def evaluate_findings(
    findings: PathLike,
    annotations: PathLike,
    *,
    excluded: PathLike | None = None,
    scans: PathLike | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Froc:
    """Evaluate a CSV table of findings as the LUNA16 challenge does; see `luna16_froc`.

    Args:
        findings: Table with the columns seriesuid, coordX, coordY, coordZ (mm), probability.
        annotations: The nodules: seriesuid, coordX, coordY, coordZ, diameter_mm, in the same frame.
        excluded: Findings that are neither nodule nor false positive, as `annotations`.
        scans: All scans that the detector ran on: a table with a column seriesuid, or one name a
            line without a header. By default those that the tables name, with a warning: scans
            without findings and nodules are missing, which overstates false positives per scan.
        bootstrap: Number of samples for the intervals.
        seed: Of the samples.

    Raises:
        UserError: A file is missing or no such table, a column is missing, a value is not a finite
            number, a scan is listed twice, or tables have no scan in common.
    """
    marks = _read(findings, FINDINGS)
    nodules = _read(annotations, ANNOTATIONS)
    others = pd.DataFrame() if excluded is None else _read(excluded, EXCLUDED)
    if scans is None:
        _require_common_scan(marks, findings, nodules["seriesuid"].tolist(), annotations)
        names = sorted({name for t in (marks, nodules, others) for name in t.get("seriesuid", ())})
        warnings.warn(
            f"no list of scans: the {len(names)} that the tables name are evaluated; scans without "
            "findings and nodules are missing, which overstates false positives per scan",
            stacklevel=2,
        )
    else:
        names = _listed_scans(Path(scans))
        _require_common_scan(marks, findings, names, scans)
        _require_common_scan(nodules, annotations, names, scans)
    froc = luna16_froc(marks, nodules, others, names, bootstrap=bootstrap, seed=seed)
    if froc.counts["Sensitivity"] < FEW and _mirrored_sensitivity(marks, nodules, names) > MOST:
        warnings.warn(
            f"{findings} seems not to be in the frame of {annotations}: hardly any nodule is hit, "
            f"and most would be with x and y of the marks negated, as between LPS+ (LUNA16, DICOM) "
            f"and RAS+ (NIfTI); negate x and y of one table, or write it in the other frame "
            f"(--frame of semilung detect)",
            stacklevel=2,
        )
    return froc


def _mirrored_sensitivity(
    marks: pd.DataFrame, nodules: pd.DataFrame, names: Sequence[str]
) -> float:
    """Return the share of nodules that would be hit by the marks with x and y negated."""
    x, y, _ = COORDINATES
    mirrored = marks.assign(**{x: -marks[x], y: -marks[y]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # marks in other scans, of which the first call has warned
        return luna16_froc(mirrored, nodules, None, names, bootstrap=0).counts["Sensitivity"]


def _read(path: PathLike, kind: TableKind) -> pd.DataFrame:
    return finding_table(read_table(Path(path), kind), kind.columns, str(path))


def _listed_scans(path: Path) -> list[str]:
    """Return the column seriesuid, or all lines of a file without a header, as LUNA16's is."""
    table = read_table(path, SCANS)
    if "seriesuid" in table:
        return table["seriesuid"].tolist()
    if len(table.columns) > 1:
        raise UserError(
            f"{path}: the column seriesuid is missing, the columns are {', '.join(table.columns)}; "
            f"{SCANS.needed}, or one name a line without a header"
        )
    first, names = str(table.columns[0]), table.iloc[:, 0].tolist()
    if names and not _DIGIT.search(first) and all(map(_DIGIT.search, names)):  # would be a scan
        raise UserError(
            f"{path}: the first line, {first}, looks like a header, for all other lines have "
            "digits; call the column seriesuid, or leave out the header"
        )
    return [first, *names]


def _require_common_scan(
    table: pd.DataFrame, path: PathLike, names: Sequence[str], names_path: PathLike
) -> None:
    """Raise UserError if all rows are of scans that are not named; names may differ in form."""
    if len(table) and len(names) and not table["seriesuid"].isin(names).any():
        raise UserError(
            f"{path} and {names_path} have no scan in common: the former names "
            f"{table['seriesuid'].iloc[0]}, the latter {names[0]}; use the same names in both"
        )
