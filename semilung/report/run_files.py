"""Files of a run or a sweep, read within its folder and checked for the types that a page needs.

A run may come from elsewhere: a link in it must not bring another file of the machine onto the
page, and a table of words where numbers belong is named, not computed with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from semilung.csv_tables import read_cell
from semilung.files import is_inside, read_json, read_yaml
from semilung.nested import fits
from semilung.types import UserError

_SHARE, _AMOUNT = (0.0, 1.0), (0.0, 1e15)

CASES = {
    **dict.fromkeys(("reference_volume_mm3", "predicted_volume_mm3"), _AMOUNT),
    **dict.fromkeys(("hd95_mm", "fp_components", "fp_volume_mm3"), _AMOUNT),
    **dict.fromkeys(("dice", "surface_dice_2mm", "threshold"), _SHARE),
    **dict.fromkeys(("ece", "foreground_ece", "brier"), _SHARE),
}
LESIONS = {"instance": _AMOUNT, "diameter_mm": _AMOUNT, "detected": _SHARE}
CURVES = {"step": _AMOUNT, "value": (-np.inf, np.inf)}
COSTS = dict.fromkeys(
    ("steps", "seconds", "peak_memory_mib", "peak_gpu_memory_mib", "threads"), _AMOUNT
)
RESULTS = {"seed": (-1e15, 1e15), **COSTS}
"""Columns of numbers in each table, with the range of their values."""

NEEDED = {
    "cases.csv": ("case", "cohort", "reference_volume_mm3", "predicted_volume_mm3"),
    "lesions.csv": ("case", "instance", "diameter_mm", "detected"),
    "metrics.csv": ("step", "name", "value"),
    "results.csv": ("run", "arm", "seed", "split"),
}
"""Columns that a table must have, where a page reads any."""

_NAMES = ("case", "run", "arm", "name")
_TEXT = (*_NAMES, "cohort", "role", "split", "message")
_NO_NUMBER = ("nan", "na", "n/a", "null", "none")
"""How tables say that a number is missing, besides an empty cell; lower case."""

_MAX_TABLE = 2**28  # bytes: rows of a million cases

Shape = Mapping[str, Any]
"""Key to the type of its value, as `semilung.nested.fits` reads it."""

CONFIG: Shape = {"seed": int, "strategies": dict | None, "data": dict | None}
AUDIT: Shape = dict.fromkeys(("status", "summary", "advice"), str | None)
PROVENANCE: Shape = {"command": list | None, "versions": dict | None}
SWEEP: Shape = {"split": str | None, "equal": str | None}


def is_file(path: Path, root: Path) -> bool:
    """Whether there is a file of this path within `root`.

    Raises:
        UserError: There is one, and a link leads to it from outside.
    """
    try:
        there = path.is_file()
    except (OSError, ValueError):
        return False
    if there and not is_inside(path, root):
        msg = (
            f"{path} leads out of {root} by a link, and a report shows nothing from outside; copy "
            f"the file to where the link is"
        )
        raise UserError(msg)
    return there


def read_table(
    path: Path, root: Path, ranges: Mapping[str, tuple[float, float]]
) -> pd.DataFrame | None:
    """A CSV table with its numbers as numbers; None where there is no such file.

    Args:
        path: The file, by whose name `NEEDED` knows its columns.
        root: Folder that it must lie within.
        ranges: Column to the range of its values, for those of the columns that are there.

    Raises:
        UserError: It lies outside, is too large or no CSV, lacks a column, or holds something else
            than a number (or one out of range) where a number belongs.
    """
    if not is_file(path, root):
        return None
    try:
        if path.stat().st_size > _MAX_TABLE:
            raise ValueError(f"{path.stat().st_size} bytes, more than {_MAX_TABLE}")
        types = dict.fromkeys(_TEXT, str)
        # a case or an arm may be named NA or nan: what is missing is an empty cell
        table: pd.DataFrame = pd.read_csv(
            path,
            dtype=types,
            compression=None,
            index_col=False,
            keep_default_na=False,
            na_values=[""],
        )
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        msg = f"{path} cannot be read as CSV: {' '.join(str(error).split())[:300]}"
        raise UserError(f"{msg}. Restore the file, or evaluate the run again") from error
    table = table.rename(columns=read_cell)
    lacking = [name for name in NEEDED.get(path.name, ()) if name not in table]
    if lacking:
        msg = f"{path} lacks the columns {', '.join(lacking)}"
        raise UserError(f"{msg}; restore the file, or evaluate the run again")
    for name in set(_TEXT) & set(table):
        table[name] = table[name].map(read_cell, na_action="ignore")
    for name in set(_NAMES) & set(NEEDED.get(path.name, ())):
        _require(path, name, table[name].notna(), table[name], "a name")
    for name, bounds in ranges.items():
        if name in table:
            table[name] = _numbers(path, table[name], *bounds)
    return table


def read_cases(path: Path, root: Path) -> pd.DataFrame | None:
    """A `cases.csv` with the column `silent`: 1 where nothing was predicted, else 0."""
    cases = read_table(path, root, CASES)
    if cases is None:
        return None
    return cases.assign(silent=(cases["predicted_volume_mm3"] == 0).astype(float))


def _numbers(path: Path, cells: pd.Series[Any], low: float, high: float) -> pd.Series[Any]:
    if cells.dtype == object or pd.api.types.is_string_dtype(cells):
        cells = cells.mask(cells.astype(str).str.lower().isin(_NO_NUMBER))
    # one cell that is no truth value makes words of a column of them
    truths = cells.map({"True": 1.0, "False": 0.0}) if cells.dtype != bool else cells
    values = pd.to_numeric(cells, errors="coerce").fillna(truths)
    if np.iscomplexobj(values):
        values = values * np.nan
    _require(path, str(cells.name), values.notna() | cells.isna(), cells, "a number")
    outside = (values < low) | (values > high)
    _require(path, str(cells.name), ~outside, cells, f"between {low:g} and {high:g}")
    return values.replace([np.inf, -np.inf], np.nan)


def _require(
    path: Path, column: str, valid: pd.Series[Any], cells: pd.Series[Any], what: str
) -> None:
    if not valid.all():
        row = int(np.flatnonzero(~valid.to_numpy(bool))[0])
        msg = f"{path}, row {row + 2}: {column} must be {what}, found {str(cells.iloc[row])[:80]!r}"
        raise UserError(f"{msg}; restore the file, or evaluate the run again")


def read_mapping(path: Path, root: Path, shape: Shape) -> dict[str, Any]:
    """A YAML or JSON mapping; empty where there is no such file.

    Raises:
        UserError: It lies outside `root`, is damaged or no mapping, or a value has another type
            than `shape` says.
    """
    if not is_file(path, root):
        return {}
    read: Callable[[Path], Any] = read_json if path.suffix == ".json" else read_yaml
    content = read(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no mapping; restore the file")
    require_shape(path, content, shape)
    return {str(key): value for key, value in content.items()}


def read_costs(path: Path, root: Path) -> dict[str, float]:
    """The numbers of `cost.json` that a page shows; those that are not known are left out.

    Raises:
        UserError: As `read_mapping`, or a cost is no number from 0 on.
    """
    content = read_mapping(path, root, dict.fromkeys(COSTS, float | None))
    costs = {key: content[key] for key in COSTS if content.get(key) is not None}
    for key, value in costs.items():
        low, high = COSTS[key]
        if not low <= value <= high:
            msg = f"{path}: {key} must be between {low:g} and {high:g}, found {str(value)[:80]}"
            raise UserError(f"{msg}; restore the file")
    return costs


def require_shape(path: Path, content: Mapping[Any, Any], shape: Shape, within: str = "") -> None:
    """Refuse values of other types than a page reads.

    Raises:
        UserError: A key of `shape` has another type; a key that is absent has none.
    """
    for key, hint in shape.items():
        if key in content and not fits(content[key], hint):
            found = f"{type(content[key]).__name__} {str(content[key])[:80]!r}"
            msg = f"{path}: {within}{key} has a value of another type, found {found}"
            raise UserError(f"{msg}; restore the file")
