"""A table of scans, with columns of any name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.data.importers.importer import importers
from semilung.data.importers.segment_masks import named_mask
from semilung.data.io.segments import as_patterns
from semilung.data.io.volume import stem_of
from semilung.data.manifest.cases import BAG_LABELS, OPTIONAL, REQUIRED, Case
from semilung.data.manifest.fields import FIELDS
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.suggestions import suggestion
from semilung.types import ROLES, SPLITS, Role, UserError

COLUMNS = REQUIRED + OPTIONAL

TABLE = TableKind("a table of scans", ("image",), "a scan")


@importers.register("csv")
class CsvTable:
    """A CSV table with one scan a row.

    Only a path of the scan is needed: a case is named by its file, is of its own patient, and is
    labelled if it has a mask. Paths are relative to the table.

    Args:
        columns: Column of a manifest to column of the table, such as `{image: CT, mask: Seg}`;
            columns of equal names need not be named.
        roles: Value in the role's column to role, such as `{normal: healthy}`.
        targets: Further columns to keep, as targets of the scan.
        segments: Names of the segments that are nodules, of masks that 3D Slicer saved as
            `.seg.nrrd`, such as `[nodule*]`; all of them by default.

    Raises:
        ValueError: A key of `columns` is no column of a manifest, or a value of `roles` no role.
    """

    def __init__(
        self,
        *,
        columns: Mapping[str, str] | None = None,
        roles: Mapping[str, str] | None = None,
        targets: Sequence[str] = (),
        segments: str | Sequence[str] = "*",
    ) -> None:
        self._columns, self._roles = dict(columns or {}), dict(roles or {})
        self._targets = list(targets)
        self._segments = () if segments == "*" else as_patterns(segments)
        for name in self._columns:
            if name not in COLUMNS:
                raise ValueError(
                    f"columns: a manifest has no column {name!r}{suggestion(name, COLUMNS)}"
                )
        for value, role in self._roles.items():
            if role not in ROLES:
                raise ValueError(f"roles: {value!r} becomes {role!r}, and roles are {ROLES}")

    def cases(self, source: Path, out: Path) -> Sequence[Case]:
        """Return a case for each row; errors as `Importer.cases`."""
        table = read_table(source, TABLE)
        present = {name: self._columns.get(name, name) for name in COLUMNS}
        present = {name: column for name, column in present.items() if column in table.columns}
        named = [*self._columns.values(), *self._targets]
        for column in ["image", *named] if "image" not in self._columns else named:
            if column not in table.columns:
                raise UserError(
                    f"{source} has no column {column!r}, it has "
                    f"{', '.join(map(str, table.columns))}; name the scans' column as in "
                    f"columns='{{image: PATH}}'"
                )
        cases = [
            self._case(source.parent, number, row, present)
            for number, row in enumerate(_rows(table), start=2)
        ]
        return [self._named_mask(case, out) for case in cases]

    def _named_mask(self, case: Case, out: Path) -> Case:
        if case.mask is None or case.role != "labelled":
            return case
        target = out / "masks" / f"{case.case}.nii.gz"
        return replace(case, mask=named_mask(case.mask, case.image, self._segments, target))

    def _case(
        self, root: Path, number: int, row: Mapping[str, str], present: Mapping[str, str]
    ) -> Case:
        values = {name: row[column] for name, column in present.items() if row[column]}
        if "image" not in values:
            raise UserError(f"row {number} of the table names no scan")
        paths: dict[str, Any] = {
            name: root / values[name] for name in ("image", *FIELDS) if name in values
        }
        name = values.get("case", stem_of(paths["image"]))
        case = Case(
            case=name,
            patient=values.get("patient", name),
            role=self._role(number, values),
            **paths,
            cohort=values.get("cohort", ""),
            targets={target: row[target] for target in self._targets},
        )
        bag_label, split = values.get("bag_label", ""), values.get("split")
        if bag_label not in BAG_LABELS or split not in (None, *SPLITS):
            raise UserError(
                f"row {number}: bag_label {bag_label!r} must be 0, 1 or empty, and split {split!r} "
                f"one of {', '.join(SPLITS)} or empty"
            )
        return replace(case, bag_label=BAG_LABELS[bag_label], split=split)

    def _role(self, number: int, values: Mapping[str, str]) -> Role:
        stated = values.get("role")
        if stated is None:
            return "labelled" if "mask" in values else "unlabelled"
        role = self._roles.get(stated, stated)
        if role not in ROLES:
            raise UserError(
                f"row {number} has the role {stated!r}, and roles are {', '.join(ROLES)}; "
                f"translate it, as in roles='{{{stated}: healthy}}'"
            )
        return role


def _rows(table: pd.DataFrame) -> list[dict[str, str]]:
    columns = [str(column) for column in table.columns]
    return [dict(zip(columns, row, strict=True)) for row in table.to_numpy().tolist()]
