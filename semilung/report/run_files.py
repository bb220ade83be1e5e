"""Validated reading of the files of a run or a sweep.

Runs may come from another machine or person, so symbolic links that lead out of the folder are
errors, as are values of an invalid type or range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from semilung.csv_tables import read_cell
from semilung.evaluation.metrics import AMOUNT, SHARE, with_silence
from semilung.files import is_inside, read_json, read_yaml
from semilung.nested import fits
from semilung.tasks import Task, metrics_of
from semilung.types import UserError

LESIONS = {"instance": AMOUNT, "diameter_mm": AMOUNT}
COORDINATE = (-1e15, 1e15)
FINDINGS = {
    **dict.fromkeys(("x_mm", "y_mm", "z_mm"), COORDINATE),
    **{"diameter_mm": AMOUNT, "probability": SHARE, "false": SHARE},
}
CURVES = {"step": AMOUNT, "value": (-np.inf, np.inf)}
COSTS = dict.fromkeys(
    ("steps", "seconds", "peak_memory_mib", "peak_gpu_memory_mib", "threads"), AMOUNT
)
RESULTS = {"seed": (-1e15, 1e15), **COSTS}
"""Numeric columns of each table, with the range of their values."""

REQUIRED = {
    "cases.csv": ("case", "cohort"),
    "lesions.csv": ("case", "instance"),
    "findings.csv": ("case", "probability", "false"),
    "metrics.csv": ("step", "name", "value"),
    "results.csv": ("run", "arm", "seed", "split"),
}
"""Columns that a table must have, by file name, besides those of tasks."""

_NAMES = ("case", "run", "arm", "name")
_TEXT = (*_NAMES, "cohort", "role", "split", "message", "picture")
_NO_NUMBER = ("nan", "na", "n/a", "null", "none")
"""Text of an absent number, besides an empty cell; lower case."""

_MAX_TABLE = 2**28  # bytes: rows of a million cases

Shape = Mapping[str, Any]
"""Key to the type of its value, in the form of `semilung.nested.fits`."""

CONFIG: Shape = {"seed": int, **dict.fromkeys(("strategies", "tasks", "data"), dict | None)}
AUDIT: Shape = dict.fromkeys(("status", "summary", "advice"), str | None)
PROVENANCE: Shape = {"command": list | None, "versions": dict | None}
SWEEP: Shape = {"split": str | None, "equal": str | None}


def is_file(path: Path, root: Path) -> bool:
    """Return whether `path` is a file within `root`.

    Raises:
        UserError: It is a symbolic link to a file outside `root`.
    """
    try:
        exists = path.is_file()
    except (OSError, ValueError):
        return False
    if exists and not is_inside(path, root):
        msg = (
            f"{path} is a symbolic link that leads out of {root}, and a report includes no files "
            f"from outside; replace the link by a copy of the file"
        )
        raise UserError(msg)
    return exists


def read_table(
    path: Path,
    root: Path,
    ranges: Mapping[str, tuple[float, float]],
    required: Sequence[str] = (),
) -> pd.DataFrame | None:
    """Return a CSV table with its numeric columns as floats; None if there is no such file.

    Args:
        path: The file; its name determines the columns in `REQUIRED`.
        root: Folder that must contain it.
        ranges: Numeric column, which may be absent, to the range of its values.
        required: Columns that it must have besides those in `REQUIRED`.

    Raises:
        UserError: It is outside `root`, too large or not CSV, lacks a column, or a value is not a
            number or out of range.
    """
    if not is_file(path, root):
        return None
    try:
        if path.stat().st_size > _MAX_TABLE:
            raise ValueError(f"{path.stat().st_size} bytes, more than {_MAX_TABLE}")
        types = dict.fromkeys(_TEXT, str)
        # a case or an arm may be named NA or nan, so only empty cells are missing values
        table: pd.DataFrame = pd.read_csv(
            path,
            dtype=types,
            compression=None,
            index_col=False,
            keep_default_na=False,
            na_values=[""],
        )
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        msg = (
            f"{path} cannot be read as CSV: {' '.join(str(error).split())[:300]}. Restore the "
            f"file, or evaluate the run again"
        )
        raise UserError(msg) from error
    table = table.rename(columns=read_cell)
    columns = [*REQUIRED.get(path.name, ()), *required]
    absent = [name for name in columns if name not in table]
    if absent:
        msg = (
            f"{path} lacks the columns {', '.join(absent)}; restore the file, or evaluate the run "
            f"again"
        )
        raise UserError(msg)
    for name in set(_TEXT) & set(table):
        table[name] = table[name].map(read_cell, na_action="ignore")
    for name in set(_NAMES) & set(REQUIRED.get(path.name, ())):
        _require(path, name, table[name].notna(), table[name], "a name")
    for name, bounds in ranges.items():
        if name in table:
            table[name] = _numbers(path, table[name], *bounds)
    return table


def read_cases(path: Path, root: Path, tasks: Mapping[str, Task]) -> pd.DataFrame | None:
    """Return the `cases.csv` of an evaluation for some tasks, see `with_silence`."""
    volumes = dict.fromkeys(("reference_volume_mm3", "predicted_volume_mm3"), AMOUNT)
    metrics = metrics_of(tasks.values())
    ranges = {m.column: m.bounds for m in metrics if m.population != "lesions"}
    bounds = {"threshold": SHARE, **volumes, **ranges}
    cases = read_table(path, root, bounds, _required(path, tasks))
    return None if cases is None else with_silence(cases)


def read_lesions(path: Path, root: Path, tasks: Mapping[str, Task]) -> pd.DataFrame | None:
    """Return the `lesions.csv` of an evaluation for some tasks."""
    metrics = metrics_of(tasks.values())
    ranges = {m.column: m.bounds for m in metrics if m.population == "lesions"}
    return read_table(path, root, {**ranges, **LESIONS}, _required(path, tasks))


def read_findings(path: Path, root: Path) -> pd.DataFrame | None:
    """Return the `findings.csv` of an evaluation; `false` is 1 for false positives, else 0."""
    return read_table(path, root, FINDINGS)


def _required(path: Path, tasks: Mapping[str, Task]) -> list[str]:
    return [c for task in tasks.values() for c in task.required_columns.get(path.name, ())]


def _numbers(path: Path, cells: pd.Series[Any], low: float, high: float) -> pd.Series[Any]:
    if cells.dtype == object or pd.api.types.is_string_dtype(cells):
        cells = cells.mask(cells.astype(str).str.lower().isin(_NO_NUMBER))
    # pandas reads a boolean column as text if one cell is something else
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
        msg = (
            f"{path}, row {row + 2}: {column} must be {what}, got {str(cells.iloc[row])[:80]!r}; "
            f"restore the file, or evaluate the run again"
        )
        raise UserError(msg)


def read_mapping(path: Path, root: Path, shape: Shape) -> dict[str, Any]:
    """Return a YAML or JSON mapping; empty if there is no such file.

    Raises:
        UserError: It is outside `root`, damaged or not a mapping, or a value is not of the type in
            `shape`.
    """
    if not is_file(path, root):
        return {}
    read: Callable[[Path], Any] = read_json if path.suffix == ".json" else read_yaml
    content = read(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a mapping; restore the file")
    require_shape(path, content, shape)
    return {str(key): value for key, value in content.items()}


def read_costs(path: Path, root: Path) -> dict[str, float]:
    """Return the costs in `cost.json` that a report shows, without unknown ones.

    Raises:
        UserError: As for `read_mapping`, or a cost is out of range.
    """
    content = read_mapping(path, root, dict.fromkeys(COSTS, float | None))
    costs = {key: content[key] for key in COSTS if content.get(key) is not None}
    for key, value in costs.items():
        low, high = COSTS[key]
        if not low <= value <= high:
            msg = (
                f"{path}: {key} must be between {low:g} and {high:g}, got {str(value)[:80]}; "
                f"restore the file"
            )
            raise UserError(msg)
    return costs


def require_shape(path: Path, content: Mapping[Any, Any], shape: Shape, within: str = "") -> None:
    """Raise UserError if the value of a key has another type than in `shape`; keys may be absent.

    Args:
        path: File of the content, for the message.
        content: Mapping to check.
        shape: Key to the type of its value.
        within: Prefix of the keys in the message.
    """
    for key, hint in shape.items():
        if key in content and not fits(content[key], hint):
            value = content[key]
            msg = (
                f"{path}: {within}{key} has a value of an invalid type, got "
                f"{type(value).__name__} {str(value)[:80]!r}; restore the file"
            )
            raise UserError(msg)
