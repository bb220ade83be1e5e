"""Write a manifest, and `nodules.csv` next to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.csv_tables import write_csv
from semilung.data.manifest.cases import OPTIONAL, Case
from semilung.data.manifest.fields import FIELDS
from semilung.data.manifest.nodules import FILE_NAME, nodule_row, read_nodules
from semilung.types import UserError


def write_manifest(path: str | os.PathLike[str], cases: Sequence[Case]) -> Path:
    """Write cases as a manifest that `read_manifest` reads back.

    Paths below the manifest's folder are written relative to it, so that the folder can be moved;
    others are absolute. Optional columns that no case fills are left out. `nodules.csv` is written
    first and the manifest last: where there is a manifest, all of it is there.

    Args:
        path: The CSV file; its folder is made as needed.
        cases: One row each, in this order.

    Returns:
        The manifest's path.

    Raises:
        UserError: The folder holds nodules of another manifest, or the disk refuses.
    """
    path = Path(path)
    nodules = [nodule_row(case.case, nodule) for case in cases for nodule in case.nodules]
    sidecar = path.parent / FILE_NAME
    if sidecar.exists():
        _require_same_cases(sidecar, {case.case for case in cases if case.nodules})
    if nodules:
        write_csv(sidecar, pd.DataFrame(nodules).dropna(axis=1, how="all"))
    table = pd.DataFrame([_row(case, path.parent.absolute()) for case in cases])
    empty = [name for name in OPTIONAL if name in table and table[name].isna().all()]
    write_csv(path, table.drop(columns=empty).convert_dtypes())
    return path


def _require_same_cases(sidecar: Path, cases: set[str]) -> None:
    """Raise UserError if the table lists nodules of other cases, which would be lost or read."""
    nodules, errors = read_nodules(sidecar)
    if errors:
        raise UserError(
            f"{sidecar} has {len(errors)} errors, the first in row {errors[0].row}, "
            f"{errors[0].column}: {errors[0].message}; fix them, or write the manifest into "
            f"another folder, because its rows would be lost here"
        )
    others = sorted(nodules.keys() - cases)
    if others:
        raise UserError(
            f"{sidecar} lists nodules of other cases ({', '.join(others[:5])}), as of another "
            f"manifest; write this one into another folder"
        )


def _row(case: Case, root: Path) -> dict[str, Any]:
    return {
        "case": case.case,
        "patient": case.patient,
        "image": _relative(case.image, root),
        "role": case.role,
        **{name: _relative(getattr(case, name), root) for name in FIELDS},
        "bag_label": case.bag_label,
        "split": case.split,
        "cohort": case.cohort or None,
        **case.targets,
    }


def _relative(path: Path | None, root: Path) -> str | None:
    if path is None:
        return None
    absolute = path.absolute()
    inside = absolute.is_relative_to(root)
    return str(absolute.relative_to(root) if inside else absolute)
