"""Checked tables of LUNA16's form: marks of a detector, annotated nodules, excluded findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.inference.findings import COORDINATES, LUNA16_COLUMNS
from semilung.types import UserError

DETECTION_COLUMNS = LUNA16_COLUMNS

ANNOTATION_COLUMNS = (LUNA16_COLUMNS[0], *COORDINATES, "diameter_mm")


def finding_table(table: pd.DataFrame, columns: Sequence[str], name: str) -> pd.DataFrame:
    """Return the columns of a table, the first as text and the others as float64.

    Args:
        table: One row a finding, its numbers as numbers or text; other columns are left out.
            Without rows and columns it is an empty table.
        columns: Name of the scan, then numbers.
        name: Of the table, for messages.

    Raises:
        UserError: A column is missing or there twice, a scan has no name, or a number is missing,
            not finite, or text that is no number.
    """
    if table.empty and not len(table.columns):
        table = pd.DataFrame(columns=list(columns))
    names = [str(column) for column in table.columns]
    if missing := [column for column in columns if column not in names]:
        raise UserError(
            f"{name}: the column {missing[0]} is missing; the table needs {', '.join(columns)}, "
            f"and has {', '.join(names) or 'none'}"
        )
    if repeated := [column for column in columns if names.count(column) > 1]:
        raise UserError(f"{name}: the column {repeated[0]} is there twice; keep one of them")
    scans = table[columns[0]]
    _require(_is_named(scans), scans, name, "a scan's name")
    numbers = {column: _numbers(table[column]) for column in columns[1:]}
    for column, values in numbers.items():
        _require(np.isfinite(values), table[column], name, "a finite number")
    return pd.DataFrame({columns[0]: scans.astype(str).to_numpy(), **numbers})


def scan_index(seriesuids: Iterable[object]) -> pd.Index[str]:
    """Return the scans of an evaluation.

    Raises:
        UserError: There is none, one is listed twice, or one has no name.
    """
    if isinstance(seriesuids, str | pd.DataFrame):
        raise UserError(
            f"seriesuids must be a sequence of names, got a {type(seriesuids).__name__}; put one "
            "name in a list, and take the column of a table"
        )
    names = pd.Series(list(seriesuids), dtype=object, name="seriesuid")
    _require(_is_named(names), names, "seriesuids", "a scan's name")
    scans = pd.Index(names.astype(str), dtype=str)
    if scans.empty:
        raise UserError("no scan is listed; list all that the detector ran on")
    if scans.has_duplicates:
        raise UserError(
            f"seriesuids lists {scans[scans.duplicated()][0]} twice; list each scan once, for "
            "false positives are counted per scan"
        )
    return scans


def _numbers(values: pd.Series) -> NDArray[np.float64]:
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def _is_named(scans: pd.Series) -> pd.Series:
    return scans.notna() & (scans.astype(str).str.strip() != "")


def _require(valid: Iterable[bool], values: pd.Series, name: str, kind: str) -> None:
    """Raise UserError for the first value that is not valid."""
    positions = np.flatnonzero(~np.asarray(valid, dtype=bool))
    if len(positions):
        first = int(positions[0])
        value = values.astype(object).iloc[first]
        raise UserError(
            f"{name}: {values.name} must be {kind}, got {value!r} in row {first + 1} "
            f"of {len(values)}; correct or remove it"
        )
