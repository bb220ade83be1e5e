"""CSV tables with cells escaped against formula injection by spreadsheets.

A cell that begins with `=`, `+`, `-` or `@` is a formula to Excel, LibreOffice and Google Sheets,
and may fetch an address or start a program (CWE-1236). Names of cases, patients, cohorts and
columns may come from untrusted data, so every table that semilung writes goes through here.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pandas as pd

from semilung.files import write_text

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""A formula to a spreadsheet, full-width forms included, or such a cell already escaped."""

_SAFE = re.compile(r"'+[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def write_csv(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table atomically, in UTF-8, without its index.

    Text that would be a formula is prefixed with an apostrophe, which marks text in spreadsheets;
    -0.0 is written as 0.0. `read_cell` removes the apostrophe.

    Raises:
        UserError: The file cannot be written; an existing one is untouched.
    """
    safe = pd.DataFrame(
        {
            position: column + 0.0 if pd.api.types.is_float_dtype(column) else column.map(safe_cell)
            for position, (_, column) in enumerate(table.items())
        },
        index=table.index,
    )
    safe.columns = pd.Index([safe_cell(name) for name in table.columns])
    write_text(path, safe.to_csv(index=False))


def safe_cell(value: Any) -> Any:
    """Escape text that a spreadsheet would run; return numbers, also as text, unchanged.

    Example:
        >>> [safe_cell(value) for value in ("=1+1", "-5", "n1", -5)]
        ["'=1+1", '-5', 'n1', -5]
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value):
        return f"'{value}"
    return value


def read_cell(value: Any) -> Any:
    """Return the text that `safe_cell` escaped.

    Example:
        >>> [read_cell(safe_cell(text)) for text in ("=1+1", "'=1+1", "'n1", "-5")]
        ['=1+1', "'=1+1", "'n1", '-5']
    """
    return value[1:] if isinstance(value, str) and _SAFE.match(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
