"""Nodules of a cohort: `nodules.csv` next to the manifest, one row a nodule.

A nodule is a centre and, where it was measured, a diameter: what LUNA16's annotations, a
radiologist's report or a screening database give without a mask. Further columns are targets of
characterization (`malignancy`, `histology`, `texture`, ...).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from semilung.data.manifest.table_file import TableKind, read_table

FILE_NAME = "nodules.csv"

CENTRE = ("x_mm", "y_mm", "z_mm")
REQUIRED = ("case", "nodule", *CENTRE)
OPTIONAL = ("diameter_mm", "ignored", "source")
NODULES = TableKind(FILE_NAME, REQUIRED, "a nodule with its centre in RAS+ mm")

FARTHEST_MM = 1e5
"""Largest coordinate; scanners' origins are within metres."""

UNMEASURED_MM = 10.0
"""Diameter that a nodule is taken to have where none was measured, as LUNA16 does."""

LARGEST_MM = 300.0
"""Largest diameter; no lung is wider."""

IGNORED = {"": False, "0": False, "1": True, "0.0": False, "1.0": True, "0,0": False, "1,0": True}
"""Spellings of the column `ignored`, those of spreadsheets included."""


@dataclass(frozen=True)
class Nodule:
    """One nodule of a scan.

    Attributes:
        name: Unique within the scan.
        centre_mm: World coordinates in RAS+ mm (DICOM and LUNA16 give LPS+: negate x and y).
        diameter_mm: In (0, 300]; None where it was not measured.
        ignored: A finding that is neither nodule nor background, such as one that a minority of
            readers marked. Where the case has a mask, the background in a ball of its diameter
            (10 mm where it was not measured) becomes 255 in the cache.
        source: Where the targets come from, such as `readers`, `pathology` or `follow-up`.
        targets: The table's further columns; an empty cell is left out.
    """

    name: str
    centre_mm: tuple[float, float, float]
    diameter_mm: float | None = None
    ignored: bool = False
    source: str = ""
    targets: Mapping[str, str] = field(default_factory=dict)


class NoduleError(NamedTuple):
    """An invalid cell of `nodules.csv`; the header is row 1."""

    row: int
    case: str
    column: str
    message: str


def read_nodules(path: Path) -> tuple[dict[str, tuple[Nodule, ...]], list[NoduleError]]:
    """Read a table of nodules.

    Args:
        path: The CSV file.

    Returns:
        Case to its nodules, for cases that have any, and every error of the table.

    Raises:
        UserError: The file is missing or no CSV table.
    """
    table = read_table(path, NODULES)
    columns = [str(column) for column in table.columns]
    errors = list(_column_errors(columns))
    if any(error.column in REQUIRED for error in errors):
        return {}, errors
    nodules: dict[str, list[Nodule]] = defaultdict(list)
    names: dict[str, set[str]] = defaultdict(set)
    rows = zip(*(table[column].tolist() for column in columns), strict=True)
    for number, values in enumerate(rows, start=2):
        row = dict(zip(columns, values, strict=True))
        invalid = list(_row_errors(row, names[row["case"]]))
        errors += [NoduleError(number, row["case"], *error) for error in invalid]
        if not invalid:
            nodules[row["case"]].append(_nodule(row))
            names[row["case"]].add(row["nodule"])
    return {case: tuple(rows) for case, rows in nodules.items() if rows}, errors


def nodule_row(case: str, nodule: Nodule) -> dict[str, object]:
    """A nodule as a row of `nodules.csv`."""
    x_mm, y_mm, z_mm = nodule.centre_mm
    return {
        "case": case,
        "nodule": nodule.name,
        "x_mm": x_mm,
        "y_mm": y_mm,
        "z_mm": z_mm,
        "diameter_mm": nodule.diameter_mm,
        "ignored": int(nodule.ignored),
        "source": nodule.source,
        **nodule.targets,
    }


def _column_errors(columns: Sequence[str]) -> Iterator[NoduleError]:
    """Missing columns, and those that differ from a known one by case alone."""
    for name in REQUIRED:
        if name not in columns:
            present = ", ".join(columns)[:300]
            yield NoduleError(1, "", name, f"missing column; the columns found are: {present}")
    for name in columns:
        plain = name.strip().lower()
        if name != plain and plain in REQUIRED + OPTIONAL:
            yield NoduleError(1, "", name, f"is not read; rename it to {plain!r}")


def _row_errors(row: Mapping[str, str], others: set[str]) -> Iterator[tuple[str, str]]:
    """Columns of one row that are invalid, each with the reason."""
    if not row["case"]:
        yield "case", "is empty"
    if not row["nodule"]:
        yield "nodule", "is empty; number the nodules of a case"
    elif row["nodule"] in others:
        yield "nodule", f"{row['nodule']!r} is there twice; names are unique within a case"
    for name in CENTRE:
        value = _number(row[name])
        if value is None or abs(value) > FARTHEST_MM:
            yield name, f"{row[name]!r} is not a coordinate in mm"
    if row.get("diameter_mm"):
        value = _number(row["diameter_mm"])
        if value is None or not 0 < value <= LARGEST_MM:
            yield (
                "diameter_mm",
                f"{row['diameter_mm']!r} is not a diameter above 0 and up to {LARGEST_MM:g} mm",
            )
    if row.get("ignored", "") not in IGNORED:
        yield "ignored", f"must be 0, 1 or empty, not {row['ignored']!r}"


def _nodule(row: Mapping[str, str]) -> Nodule:
    x_mm, y_mm, z_mm = (float(row[name].replace(",", ".")) for name in CENTRE)
    targets = {name: text for name, text in row.items() if name not in REQUIRED + OPTIONAL and text}
    return Nodule(
        name=row["nodule"],
        centre_mm=(x_mm, y_mm, z_mm),
        diameter_mm=_number(row.get("diameter_mm", "")),
        ignored=IGNORED[row.get("ignored", "")],
        source=row.get("source", ""),
        targets=targets,
    )


def _number(text: str) -> float | None:
    """A finite number, its decimal point a comma where a spreadsheet writes one."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
