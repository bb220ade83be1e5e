"""Nodules with features and a label: the tables of a study, joined and checked."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from semilung.characterization.characterization_settings import CharacterizationSettings
from semilung.characterization.feature_columns import EMPTY, KEY, read_features, require_once
from semilung.data.manifest.nodules import IGNORED
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.data.manifest.targets import Target, plain_spelling
from semilung.evaluation.ranking import auc_shares
from semilung.suggestions import suggestion
from semilung.types import UserError

LABELS = TableKind("nodules.csv", KEY, "a nodule with its targets")

LEAST_VALUES = 10
"""Values that a feature must have before a perfect separation by it is worth a warning."""


@dataclass(frozen=True)
class NoduleStudy:
    """The nodules that are studied.

    Attributes:
        nodules: A row a nodule, ordered by case and name: `case, nodule, patient, label` (0 or 1),
            `diameter_mm`.
        features: Of the same rows, numbers; NaN where a feature is undefined.
        source: Where the labels come from; empty where the table does not say.
        left_out: Number of nodules of both tables whose value of the target is of neither class.
    """

    nodules: pd.DataFrame
    features: pd.DataFrame
    source: str
    left_out: int


def read_study(features: Path, nodules: Path, settings: CharacterizationSettings) -> NoduleStudy:
    """Read and join the tables of features and of targets.

    Warns of nodules that only one of the tables has, and of features that separate the classes.

    Args:
        features: As `semilung radiomics` writes it: `case, patient, nodule, diameter_mm`, features.
        nodules: With the columns `case`, `nodule`, the target and, where known, `source`.
        settings: Names the target and its classes.

    Raises:
        UserError: A table is invalid, a nodule is there twice, labels of several sources are mixed,
            the table of features has columns of the other, or no nodule has features and a label.
    """
    measured = read_features(features)
    table = read_table(nodules, LABELS)
    require_no_targets(measured.features.columns, table.columns, features, nodules)
    target = settings.binary_target()
    rows, source = labels_of(table, target, nodules, source=settings.source, option="source")
    _warn_of_absent_values(rows, target, nodules)
    chosen_rows = f"{nodules} (source {source})" if settings.source else str(nodules)
    _warn_of_unmatched(measured.nodules, rows, str(features), chosen_rows)
    used = rows[~rows["ignored"]].drop(columns="ignored")
    joined = measured.nodules.merge(used, on=[*KEY], how="left", validate="one_to_one")
    chosen = joined[joined["label"].notna()].sort_values([*KEY])
    if chosen.empty:
        raise UserError(
            f"no nodule has features in {features} and a value of {target.name!r} of either class "
            f"in {nodules}; check the names of cases and nodules, and negative and positive. "
            f"Values of {target.name!r}: {_values(rows['value'])}"
        )
    other = joined[joined["label"].isna() & joined["value"].notna()]
    numbers = measured.features.loc[chosen.index].reset_index(drop=True)
    study = NoduleStudy(
        chosen.drop(columns="value").astype({"label": int}).reset_index(drop=True),
        numbers,
        source,
        int((~other["value"].str.lower().isin(EMPTY)).sum()),
    )
    _warn_of_perfect_features(study)
    return study


def labels_of(
    table: pd.DataFrame, target: Target, path: Path, *, source: str, option: str
) -> tuple[pd.DataFrame, str]:
    """Return the rows of the labels' one source, and that source.

    Rows are `case, nodule, label, value, ignored`: the label is NaN where a nodule is ignored or
    its value, the text of the cell, is of neither class.

    Args:
        table: Cells as text.
        target: The column and its two classes.
        path: Of the table, for messages.
        source: Whose labels are used; empty where there is only one source.
        option: Name of the setting that chooses it, for messages.

    Raises:
        UserError: A column is missing, a nodule of the source is there twice, sources are mixed, or
            a cell of `ignored` is neither 0, 1 nor empty.
    """
    for name in (*KEY, target.name):
        if name not in table:
            raise UserError(
                f"{path} has no column {name!r}{suggestion(name, table.columns)}; its columns are: "
                f"{', '.join(table.columns)}"
            )
    number = np.array([target.number(text) for text in table[target.name]])
    ignored = _ignored(table, path)
    rows = table[[*KEY]].assign(
        label=np.where(ignored, math.nan, number), value=table[target.name], ignored=ignored
    )
    sources = table.get("source", pd.Series("", table.index))
    counts = Counter(sources[rows["label"].notna()])
    listed = ", ".join(f"{name or '(empty)'}: {count}" for name, count in counts.most_common())
    if not source and len(counts) > 1:
        raise UserError(
            f"{path} has labels of several sources ({listed}), which are never mixed in one study; "
            f"choose one, as in {option}={next(name for name in counts if name)}"
        )
    if source and source not in counts:
        raise UserError(
            f"{option}={source}: no labelled nodule of {path} has this source"
            f"{suggestion(source, counts)}; sources found: {listed or 'none'}"
        )
    chosen = source or next(iter(counts), "")
    if chosen:
        rows = rows[sources == chosen]
    require_once(rows[~rows["ignored"]], path)
    return rows, chosen


def _ignored(table: pd.DataFrame, path: Path) -> list[bool]:
    cells = table.get("ignored", pd.Series("", table.index)).tolist()
    if unknown := [text for text in cells if text not in IGNORED]:
        raise UserError(
            f"{path}: ignored must be 0, 1 or empty, not {unknown[0]!r} ({len(unknown)} such rows)"
        )
    return [IGNORED[text] for text in cells]


def require_no_targets(
    features: Iterable[str], columns: Iterable[str], path: Path, nodules: Path
) -> None:
    """Check that no feature is a column of a table of targets.

    Raises:
        UserError: A name is in both tables.
    """
    shared = sorted(set(features) & set(columns))
    if shared:
        raise UserError(
            f"{path} has the columns {', '.join(shared)}, which are columns of {nodules} and no "
            f"features: a rating or target among the features would be learned; remove them"
        )


def _values(cells: pd.Series) -> str:
    """Return the most frequent values of a column, as they are written."""
    return ", ".join(repr(text) for text, _ in Counter(cells).most_common(8))


def _warn_of_absent_values(rows: pd.DataFrame, target: Target, nodules: Path) -> None:
    present = {plain_spelling(text) for text in rows.loc[~rows["ignored"], "value"]}
    absent = [text for values in target.values for text in values if text not in present]
    if absent:
        warnings.warn(
            f"{nodules}: no nodule has a value of {target.name!r} of "
            f"{', '.join(map(repr, absent))}, as negative and positive name; its values are: "
            f"{_values(rows['value'])}",
            stacklevel=4,
        )


def _warn_of_unmatched(
    measured: pd.DataFrame, rows: pd.DataFrame, features: str, nodules: str
) -> None:
    for names, others, present, absent in (
        (measured, rows, features, nodules),
        (rows[~rows["ignored"]], measured, nodules, features),
    ):
        keys = others[[*KEY]].drop_duplicates()
        both = names[[*KEY]].merge(keys, on=[*KEY], how="left", indicator="side")
        unmatched = both[both["side"] == "left_only"]
        if len(unmatched):
            first = unmatched.iloc[0]
            warnings.warn(
                f"{len(unmatched)} of {len(names)} nodules of {present} are not in {absent} and "
                f"are left out, such as nodule {first['nodule']} of {first['case']}"
                f"{_spelling(first, others)}",
                stacklevel=4,
            )


def _spelling(row: pd.Series, others: pd.DataFrame) -> str:
    """Return a hint where another table writes the number of a nodule differently, as 1.0 for 1."""
    number = plain_spelling(row["nodule"])
    for name in others.loc[others["case"] == row["case"], "nodule"]:
        if plain_spelling(name) == number:
            return f": {name!r} there is the same number written differently; write both alike"
    return ""


def _warn_of_perfect_features(study: NoduleStudy) -> None:
    positive = study.nodules["label"].to_numpy() == 1
    perfect = []
    for name, column in study.features.items():
        defined = column.notna().to_numpy()
        shares = auc_shares(column.to_numpy()[defined], positive[defined])
        if len(shares) >= LEAST_VALUES and abs(float(shares.mean()) - 0.5) > 0.5 - 1e-9:
            perfect.append(str(name))
    if perfect:
        warnings.warn(
            f"{', '.join(perfect)} alone separates the classes perfectly; if it was derived from "
            f"the target, remove it from the table of features",
            stacklevel=4,
        )
