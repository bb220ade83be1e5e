"""The table of features: keys, patients, diameters, and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from semilung.data.manifest.table_file import TableKind, read_table
from semilung.suggestions import suggestion
from semilung.types import UserError

KEY = ("case", "nodule")
"""Columns that name a nodule."""

DESCRIPTION = (
    *("case", "patient", "nodule", "role", "split", "cohort", "volume_mm3", "diameter_mm"),
    *("finding", "probability", "reference", "matched"),
)
"""Columns of `semilung radiomics` that are no features."""

EMPTY = ("", "nan", "na", "n/a", "none", "null", "-")
"""Spellings of an absent value, in lower case."""

FEATURES = TableKind(
    "a table of features", ("case", "patient", "nodule", "diameter_mm"),
    "a nodule, and a column a feature, as semilung radiomics writes it",
)  # fmt: skip


class FeatureRows(NamedTuple):
    """Rows of a table of features: `case, nodule, patient, diameter_mm`, and the features."""

    nodules: pd.DataFrame
    features: pd.DataFrame


def read_features(path: Path) -> FeatureRows:
    """Read a table of features; an empty or infinite value becomes NaN.

    Raises:
        UserError: A column is missing, a nodule is there twice or has no patient or diameter, or a
            feature is no number.
    """
    table = read_table(path, FEATURES)
    missing = [name for name in FEATURES.columns if name not in table]
    names = [name for name in table.columns if name not in DESCRIPTION]
    if missing or not names:
        absent = f"the columns {', '.join(missing)}" if missing else "any feature"
        hints = filter(None, (suggestion(name, names) for name in missing))
        raise UserError(f"{path} is without {absent}{next(hints, '')}; {FEATURES.needed}")
    require_once(table, path)
    diameters_mm = numbers_of(table, "diameter_mm", path, required=False)
    incomplete = (table["patient"] == "") | ~(diameters_mm > 0)
    if incomplete.any():
        first = table[incomplete].iloc[0]
        raise UserError(
            f"{path}: {incomplete.sum()} nodules have no patient or no diameter above 0, such as "
            f"nodule {first['nodule']} of {first['case']}; fill them in, as folds are of patients "
            f"and all is compared with size"
        )
    features = pd.DataFrame({name: numbers_of(table, name, path, required=False) for name in names})
    nodules = table[["case", "nodule", "patient"]].assign(diameter_mm=diameters_mm)
    return FeatureRows(nodules, features)


def require_once(table: pd.DataFrame, path: Path) -> None:
    """Check that a table names each nodule once.

    Raises:
        UserError: A nodule is there twice.
    """
    repeated = table[table.duplicated([*KEY])]
    if len(repeated):
        first = repeated.iloc[0]
        raise UserError(
            f"{path}: nodule {first['nodule']!r} of {first['case']!r} is there twice "
            f"({len(repeated)} such rows); keep one row a nodule"
        )


def numbers_of(table: pd.DataFrame, name: str, path: Path, *, required: bool) -> pd.Series:
    """Return the finite numbers of a column, with decimal points or commas.

    Args:
        table: Cells as text.
        name: Of the column.
        path: Of the table, for messages.
        required: Whether each row needs a number; else an empty or infinite one is NaN.

    Raises:
        UserError: A cell is no number.
    """
    text = table[name].str.lower()
    parsed = pd.to_numeric(text.str.replace(",", ".", regex=False), errors="coerce").astype(float)
    finite = np.isfinite(parsed)
    invalid = ~finite if required else parsed.isna() & ~text.isin(EMPTY)
    if invalid.any():
        rule = "each row needs one"
        if not required:
            rule = "a feature is a number or empty. Remove the column if it is no feature"
        raise UserError(
            f"{path}: column {name!r} holds {table.loc[invalid, name].iloc[0]!r}, which is no "
            f"number; {rule}"
        )
    return parsed.where(finite)
