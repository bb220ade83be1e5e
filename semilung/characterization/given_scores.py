"""Scores of nets of the folds, and their check against the folds."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from semilung.characterization.feature_columns import KEY, numbers_of
from semilung.characterization.feature_models import logit
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.types import UserError

ROW = ["repeat", "fold", *KEY]
PARTS = ("inner", "outer")
REMEDY = (
    "Train the nets on the folds of these very settings, as --folds-only writes them: without the "
    "patients of the parts inner and outer, which they then score"
)
SCORES = TableKind(
    "a table of scores", ("repeat", "fold", "part", *KEY, "score"),
    "a nodule of the parts inner and outer of each fold",
)  # fmt: skip


def read_scores(path: Path, folds: pd.DataFrame) -> pd.DataFrame:
    """Return a net's evidence of each fold's held-out nodules.

    Where all scores lie in [0, 1] they are probabilities, and their logit is the evidence;
    otherwise the score itself is.

    Args:
        path: CSV with `repeat, fold, part, case, nodule, score`; a higher score is more positive.
        folds: As returned by `fold_table`.

    Returns:
        Column `evidence`, indexed by `repeat, fold, case, nodule`.

    Raises:
        UserError: The table is invalid, or its rows are not those of the folds.
    """
    table = read_table(path, SCORES)
    if absent := [name for name in SCORES.columns if name not in table]:
        raise UserError(f"{path} is without the columns {', '.join(absent)}; {SCORES.needed}")
    numbers = {
        name: numbers_of(table, name, path, required=True) for name in ("repeat", "fold", "score")
    }
    table = table[[*KEY, "part"]].assign(**numbers)
    if (repeated := table.duplicated(ROW)).any():
        raise UserError(f"{path} has {_place(table[repeated].iloc[0])} twice; keep one row")
    rows = _studied_rows(table, folds, path)
    _check_parts(rows, folds, path)
    score = rows["score"].to_numpy(float)
    is_probability = score.min() >= 0 and score.max() <= 1
    rows = rows.assign(evidence=logit(score) if is_probability else score)
    return rows.astype({"repeat": int, "fold": int}).set_index(ROW)[["evidence"]]


def _studied_rows(table: pd.DataFrame, folds: pd.DataFrame, path: Path) -> pd.DataFrame:
    studied = set(zip(folds["case"], folds["nodule"], strict=True))
    others = [key not in studied for key in zip(table["case"], table["nodule"], strict=True)]
    if any(others):
        warnings.warn(
            f"{path}: {sum(others)} scores are of nodules that are not studied and are ignored",
            stacklevel=5,
        )
    return table[~np.array(others, dtype=bool)]


def _check_parts(rows: pd.DataFrame, folds: pd.DataFrame, path: Path) -> None:
    """Check that the rows are those of the held-out parts, each in its part."""
    both = folds.merge(rows, on=ROW, how="outer", suffixes=("", "_scored"), indicator="side")
    unknown = both[both["side"] == "right_only"]
    if len(unknown):
        raise UserError(
            f"{path} has {_place(unknown.iloc[0])}, and there is no such fold. {REMEDY}"
        )
    wrong = both[both["part_scored"].notna() & (both["part"] != both["part_scored"])]
    if len(wrong):
        first = wrong.iloc[0]
        raise UserError(
            f"{path}: {_place(first)} (patient {first['patient']}) is scored as "
            f"{first['part_scored']!r} and is in the part {first['part']!r} of the folds "
            f"({len(wrong)} such rows). {REMEDY}"
        )
    missing = both[both["part"].isin(PARTS) & both["part_scored"].isna()]
    if len(missing):
        first = missing.iloc[0]
        raise UserError(
            f"{path} lacks the score of {_place(first)}, part {first['part']!r} "
            f"({len(missing)} such rows). {REMEDY}"
        )


def _place(row: pd.Series) -> str:
    return (
        f"nodule {row['nodule']} of {row['case']} in repeat {row['repeat']:g}, fold {row['fold']:g}"
    )
