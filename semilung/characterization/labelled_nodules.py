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
from semilung.characterization.feature_columns import KEY, read_features, require_once
from semilung.data.manifest.nodules import IGNORED
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.data.manifest.targets import Target
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
    _require_no_targets(measured.features.columns, table.columns, features, nodules)
    labels, source = labels_of(
        table, settings.binary_target(), nodules, source=settings.source, option="source"
    )
    keys = measured.nodules[[*KEY]]
    _warn_of_unmatched(keys, table, features, nodules)
    joined = measured.nodules.merge(labels, on=[*KEY], how="left", validate="one_to_one")
    chosen = joined[joined["label"].notna()].sort_values([*KEY])
    if chosen.empty:
        values = Counter(table[settings.target]).most_common(8)
        raise UserError(
            f"no nodule has features in {features} and a value of {settings.target!r} of either "
            f"class in {nodules}; check the names of cases and nodules, and negative and positive. "
            f"Values of {settings.target!r}: {', '.join(name or '(empty)' for name, _ in values)}"
        )
    numbers = measured.features.loc[chosen.index].reset_index(drop=True)
    study = NoduleStudy(
        chosen.astype({"label": int}).reset_index(drop=True),
        numbers,
        source,
        len(keys.merge(table[[*KEY]], on=[*KEY])) - len(chosen),
    )
    _warn_of_perfect_features(study)
    return study


def labels_of(
    table: pd.DataFrame, target: Target, path: Path, *, source: str, option: str
) -> tuple[pd.DataFrame, str]:
    """Return the labelled nodules of a table, `case, nodule, label`, and their one source.

    Nodules that the table ignores are left out.

    Args:
        table: Cells as text.
        target: The column and its two classes.
        path: Of the table, for messages.
        source: Whose labels are used; empty where there is only one source.
        option: Name of the setting that chooses it, for messages.

    Raises:
        UserError: A column is missing, a nodule is there twice, or sources are mixed.
    """
    for name in (*KEY, target.name):
        if name not in table:
            raise UserError(
                f"{path} has no column {name!r}{suggestion(name, table.columns)}; its columns are: "
                f"{', '.join(table.columns)}"
            )
    require_once(table, path)
    number = np.array([target.number(text) for text in table[target.name]])
    ignored = [IGNORED.get(text, False) for text in table.get("ignored", [""] * len(table))]
    rows = table[[*KEY]].assign(label=np.where(ignored, math.nan, number))
    rows["source"] = table.get("source", "")
    rows = rows[rows["label"].notna()]
    counts = Counter(rows["source"])
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
    return rows.loc[rows["source"] == chosen, [*KEY, "label"]], chosen


def _require_no_targets(
    features: Iterable[str], columns: Iterable[str], path: Path, nodules: Path
) -> None:
    shared = sorted(set(features) & set(columns))
    if shared:
        raise UserError(
            f"{path} has the columns {', '.join(shared)}, which are columns of {nodules} and no "
            f"features: a rating or target among the features would be learned; remove them"
        )


def _warn_of_unmatched(
    keys: pd.DataFrame, table: pd.DataFrame, features: Path, nodules: Path
) -> None:
    both = keys.merge(table[[*KEY]], on=[*KEY], how="outer", indicator="side")
    for side, present, absent in (
        ("left_only", features, nodules), ("right_only", nodules, features),
    ):  # fmt: skip
        rows = both[both["side"] == side]
        if len(rows):
            first = rows.iloc[0]
            warnings.warn(
                f"{len(rows)} of {len(both)} nodules of {present} are not in {absent} and are left "
                f"out, such as nodule {first['nodule']} of {first['case']}",
                stacklevel=4,
            )


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
