"""Inputs of `semilung characterize`: read and checked before anything is computed."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from semilung.api.paths import PathLike
from semilung.arm_names import printable
from semilung.characterization import (
    SIZE,
    CharacterizationSettings,
    Fold,
    NoduleStudy,
    fold_table,
    labels_of,
    make_folds,
    read_scores,
    read_study,
)
from semilung.characterization.labelled_nodules import LABELS, require_no_targets
from semilung.characterization.study_tables import FILES, RECORD
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.radiomics.stability import stable_features
from semilung.report.formatting import listed
from semilung.runs.config_values import build_settings, parse_settings
from semilung.types import UserError

STABILITY = TableKind("a table of stability", ("feature", "icc"), "a feature")


@dataclass(frozen=True)
class StudyInputs:
    """What a study is computed from.

    Attributes:
        settings: Of the study.
        study: Nodules with features and labels.
        folds: Of all repeats.
        stable: Indices of the stable features; None where all may be used.
        evidence: Name of each net to its evidence.
        external: Other labels, `case, nodule, label`; None for none.
        external_source: Where those come from.
        files: Name and SHA-256 of each table, by what it is.
    """

    settings: CharacterizationSettings
    study: NoduleStudy
    folds: list[Fold]
    stable: list[int] | None
    evidence: dict[str, pd.DataFrame]
    external: pd.DataFrame | None
    external_source: str
    files: dict[str, dict[str, str]]


def study_settings(words: Sequence[str]) -> CharacterizationSettings:
    """Return the settings of `key=value` words.

    Raises:
        UserError: A setting is unknown or invalid.
    """
    prefix = "characterize."
    return build_settings(CharacterizationSettings, parse_settings(words, prefix), prefix)


def read_inputs(
    features: Path,
    nodules: Path,
    settings: CharacterizationSettings,
    *,
    stability: Path | None,
    scores: Mapping[str, PathLike],
    external: Path | None,
) -> StudyInputs:
    """Read all tables of a study.

    Raises:
        UserError: A table or the name of a net is invalid, or tables do not match.
    """
    for name in scores:
        _require_name(name)
    study = read_study(features, nodules, settings)
    folds = make_folds(study.nodules, settings)
    table = fold_table(study.nodules, folds)
    nets = {name: Path(path) for name, path in scores.items()}
    paths = {
        "features": features,
        "nodules": nodules,
        "stability": stability,
        "external": external,
        **{f"scores {name}": path for name, path in nets.items()},
    }
    labels, source = None, ""
    if external is not None:
        rows = read_table(external, LABELS)
        require_no_targets(study.features.columns, rows.columns, features, external)
        rows, source = labels_of(
            rows, settings.external(), external,
            source=settings.external_source, option="external_source",
        )  # fmt: skip
        labels = rows.loc[rows["label"].notna(), ["case", "nodule", "label"]]
        _require_scored(labels, study, external)
    return StudyInputs(
        settings,
        study,
        folds,
        None if stability is None else _stable(stability, study, settings),
        {name: read_scores(path, table) for name, path in nets.items()},
        labels,
        source,
        {name: _identity(path) for name, path in paths.items() if path is not None},
    )


def require_folder(
    out: Path, inputs: Iterable[PathLike | None], *, folds_only: bool = False
) -> None:
    """Check, before minutes of work, that files can be written to a folder.

    Raises:
        UserError: It is a file, it or its parent cannot be written to, it holds files of the same
            names that are of no study or no plain files, an input is one of the files that would be
            written, or folds alone would replace those of a whole study.
    """
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(
            f"--out {out} cannot be written, because {folder} is not a folder in which you may "
            f"write; name another folder"
        )
    present = [name for name in FILES if (out / name).exists()]
    if present and FILES[0] not in present:
        raise UserError(
            f"--out {out} holds {present[0]} and no {FILES[0]}, so it is no study's folder; name "
            f"another one"
        )
    if irregular := [name for name in present if not (out / name).is_file()]:
        raise UserError(
            f"--out {out}: {irregular[0]} in it is not a plain file and cannot be replaced; remove "
            f"it, or name another folder"
        )
    if folds_only and RECORD in present:
        raise UserError(
            f"--out {out} holds a whole study, whose other tables would not match new folds; its "
            f"folds.csv can be used as it is, for other folds name another folder"
        )
    written = {(out / name).resolve() for name in FILES}
    for path in inputs:
        if path is not None and Path(path).resolve() in written:
            raise UserError(
                f"{path} would be replaced by a result of this study; name another --out"
            )


def _require_name(name: str) -> None:
    hidden = name.startswith("_")  # matplotlib leaves such a name out of a legend
    if name.split() != [name] or name != printable(name) or name == SIZE or hidden:
        raise UserError(
            f"--scores {name}=...: a net's name is one word other than {SIZE!r}, as arms of other "
            f"names have two, and does not begin with an underscore; rename it"
        )


def _require_scored(labels: pd.DataFrame, study: NoduleStudy, path: Path) -> None:
    scored = labels.merge(study.nodules[["case", "nodule"]])
    if scored.empty:
        raise UserError(
            f"none of {len(labels)} labelled nodules of {path} is one of the {len(study.nodules)} "
            f"studied; check the names of cases and nodules, external_negative and "
            f"external_positive"
        )


def _stable(path: Path, study: NoduleStudy, settings: CharacterizationSettings) -> list[int]:
    """Return the indices of the stable features of a study."""
    table = read_table(path, STABILITY)
    if not {*STABILITY.columns} <= {*table.columns}:
        raise UserError(f"{path} is no table of stability; {STABILITY.needed}")
    table["icc"] = pd.to_numeric(table["icc"], errors="coerce")
    stable = {*stable_features(table, settings.stability)}
    names = study.features.columns
    indices = [index for index, name in enumerate(names) if name in stable]
    unlisted = [name for name in names if name not in {*table["feature"]}]
    if unlisted:
        warnings.warn(
            f"{path} does not list {len(unlisted)} of {len(names)} features, which are left out as "
            f"if unstable: {listed(unlisted)}",
            stacklevel=4,
        )
    if not indices:
        raise UserError(
            f"{path}: none of {len(names)} features has an ICC of {settings.stability:g} or more; "
            f"lower it, as in stability=0.5, or leave --stability out"
        )
    return indices


def _identity(path: Path) -> dict[str, str]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"file": path.name, "sha256": digest}
