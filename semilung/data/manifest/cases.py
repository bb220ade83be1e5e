"""The manifest: a CSV table with one case a row, the only interface to the user's data."""

from __future__ import annotations

import gc
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import pandas as pd

from semilung.data.manifest.fields import FIELDS
from semilung.data.manifest.nodules import FILE_NAME, Nodule, read_nodules
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.types import ROLES, SPLITS, Role, Split, UserError

REQUIRED = ("case", "patient", "image", "role")
OPTIONAL = (*FIELDS, "bag_label", "split", "cohort")
MANIFEST = TableKind("a manifest", REQUIRED, "a scan")

NAME_BYTES = 200
"""Longest name of a case: file systems allow 255 bytes, endings included."""

DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{d}{n}" for d in ("COM", "LPT") for n in range(1, 10))}
"""Names that Windows reserves for devices, with any ending."""

Row: TypeAlias = Mapping[str, str]


class ManifestIssue(NamedTuple):
    """An error or warning of a manifest: file row (the header is row 1), case, column, message."""

    row: int
    case: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"row {self.row}, case {self.case!r}, {self.field}: {self.message}"


@dataclass(frozen=True)
class Case:
    """One scan with its labels, a row of the manifest.

    Attributes:
        case: Unique name.
        patient: Patient; a patient is never in two splits.
        image: CT in HU.
        role: Kind of supervision: `labelled`, `unlabelled`, `healthy` or `weak`.
        mask: 0 background, 1 to 254 nodules (see `nodule_instances`), 255 ignore; None if not
            available.
        anatomy: Anatomy labels on the image's grid; None if not available.
        bag_label: Scan-level label: 1 with a nodule, 0 without, None where unknown.
        split: `train`, `val` or `test`; None until it is assigned.
        cohort: Source of the scan (scanner, study), for metrics per cohort.
        nodules: Rows of `nodules.csv`, the file next to the manifest.
        targets: Further columns of the manifest, such as ratings or a histology.
    """

    case: str
    patient: str
    image: Path
    role: Role
    mask: Path | None = None
    anatomy: Path | None = None
    bag_label: int | None = None
    split: Split | None = None
    cohort: str = ""
    nodules: tuple[Nodule, ...] = ()
    targets: dict[str, str] = field(default_factory=dict)

    @property
    def voxels_known(self) -> bool:
        """Whether every voxel is known to be nodule or not, so that a mask can be evaluated."""
        return self.role == "healthy" or (self.role == "labelled" and self.mask is not None)

    def volumes(self) -> dict[str, Path]:
        """The image and the label maps that are used for its role."""
        named = {name: getattr(self, name) for name, f in FIELDS.items() if self.role in f.roles}
        return {"image": self.image, **{name: path for name, path in named.items() if path}}


@dataclass(frozen=True)
class ScannedTable:
    """Content of a manifest and of its `nodules.csv`; volumes are not opened.

    Attributes:
        cases: The cases of all valid rows, with row numbers.
        errors: Every error of both tables, sorted by row.
        stray: Cases of `nodules.csv` that are not among `cases`, sorted.
    """

    cases: list[tuple[int, Case]]
    errors: list[ManifestIssue]
    stray: list[str]


def read_manifest(path: str | os.PathLike[str]) -> list[Case]:
    """Read and check a manifest's table; volumes are not opened (see `check_manifest`).

    Paths in it are relative to its folder. Absolute paths and `..` are allowed, because a manifest
    is the user's own file; inspect one from others before use.

    Raises:
        UserError: The file is missing or no CSV, or rows are invalid; all errors are listed.
    """
    with no_collection():
        table = scan_table(path)
    if errors := table.errors:
        listed = "\n".join(f"  {error}" for error in errors[:50])
        more = f"\n  and {len(errors) - 50} more" if len(errors) > 50 else ""
        raise UserError(f"{path}: {len(errors)} errors in the manifest; fix them:\n{listed}{more}")
    return [case for _, case in table.cases]


def scan_table(path: str | os.PathLike[str]) -> ScannedTable:
    """Read a manifest and the `nodules.csv` of its folder, if any, and list all their errors.

    Raises:
        UserError: There is no manifest, or it is not a CSV.
    """
    path = Path(path)
    table = read_table(path, MANIFEST)
    root, columns = path.parent, [str(column) for column in table.columns]
    errors = list(_column_errors(columns))
    if any(error.field in REQUIRED for error in errors):
        return ScannedTable([], errors, [])
    if table.empty:
        errors.append(ManifestIssue(1, "", "case", "the manifest has no rows; add one a case"))
    extra = [column for column in columns if column not in REQUIRED + OPTIONAL]
    nodules, invalid = _read_nodules(root)
    errors.extend(invalid)
    cases: list[tuple[int, Case]] = []
    rows = zip(*(table[c].tolist() for c in columns), strict=True)
    for number, values in enumerate(rows, start=2):
        row = dict(zip(columns, values, strict=True))
        listed = nodules.get(row["case"], ())
        row_errors = [
            ManifestIssue(number, row["case"], *error) for error in _row_errors(row, listed)
        ]
        errors.extend(row_errors)
        if not row_errors:
            cases.append((number, replace(_case(row, root, extra), nodules=listed)))
    errors.extend(_duplicate_names(table))
    errors.extend(_shared_patients(table))
    stray = sorted(nodules.keys() - {case.case for _, case in cases})
    return ScannedTable(cases, sorted(errors), stray)


@contextmanager
def no_collection() -> Iterator[None]:
    """Switch garbage collection off: traversing a large cohort's rows costs a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _column_errors(columns: list[str]) -> Iterator[ManifestIssue]:
    for name in REQUIRED:
        if name not in columns:
            present = ", ".join(columns)[:300]
            yield ManifestIssue(1, "", name, f"missing column; the columns found are: {present}")
    for name in columns:
        plain = name.strip().lower()
        if name != plain and plain in REQUIRED + OPTIONAL:
            yield ManifestIssue(1, "", name, f"column {name!r} is not read; rename it to {plain!r}")


def _read_nodules(
    root: Path,
) -> tuple[dict[str, tuple[Nodule, ...]], list[ManifestIssue]]:
    path = root / FILE_NAME
    if not path.exists():
        return {}, []
    try:
        nodules, errors = read_nodules(path)
    except UserError as error:
        return {}, [ManifestIssue(1, "", FILE_NAME, str(error))]
    listed = [ManifestIssue(e.row, e.case, f"{FILE_NAME}, {e.column}", e.message) for e in errors]
    return nodules, listed


def _row_errors(row: Row, nodules: Sequence[Nodule]) -> Iterator[tuple[str, str]]:
    """Yield column and message of each error within one row."""
    for name in REQUIRED:
        if not row[name]:
            yield name, "is empty"
    for name in REQUIRED + OPTIONAL:
        if not row.get(name, "").isprintable():
            yield name, f"{row[name]!r} holds a control character"
    yield from _name_errors(row["case"])
    if row["role"] and row["role"] not in ROLES:
        yield "role", f"unknown role {row['role']!r}; there are {', '.join(ROLES)}"
    if row.get("split", "") not in ("", *SPLITS):
        yield "split", f"unknown split {row['split']!r}; there are {', '.join(SPLITS)}"
    if row.get("bag_label", "") not in BAG_LABELS:
        yield "bag_label", f"must be 0, 1 or empty, not {row['bag_label']!r}"
    else:
        yield from _role_errors(row, nodules)


def _name_errors(name: str) -> Iterator[tuple[str, str]]:
    """Yield the reasons why a case's name cannot become a file name."""
    if "/" in name or "\\" in name:
        yield "case", "names become file names: no slashes"
    if not name.strip(". ") or name.partition(".")[0].upper() in DEVICES:
        yield "case", f"names become file names: {name!r} is none on every system"
    if len(name.encode()) > NAME_BYTES:
        yield "case", f"names become file names: at most {NAME_BYTES} bytes"


def _role_errors(row: Row, nodules: Sequence[Nodule]) -> Iterator[tuple[str, str]]:
    """Yield values that the row's role does not allow."""
    role, bag = row["role"], BAG_LABELS[row.get("bag_label", "")]
    certain = sum(not nodule.ignored for nodule in nodules)
    if role == "labelled" and not row.get("mask", "") and not certain:
        yield (
            "mask",
            f"a labelled case needs a mask, or its nodules in {FILE_NAME}; name one or change the "
            f"role",
        )
    if certain and (role == "healthy" or bag == 0):
        yield (
            "role" if role == "healthy" else "bag_label",
            f"says that the scan holds no nodule, but {FILE_NAME} lists {certain}",
        )
    if role == "healthy" and bag == 1:
        yield "bag_label", "a healthy case holds no nodule: bag_label must be 0 or empty"
    if role == "weak" and bag is None:
        yield "bag_label", "a weak case needs a scan-level label, 0 or 1"


def _duplicate_names(table: pd.DataFrame) -> Iterator[ManifestIssue]:
    """Yield cases of equal names, or of names that are one file on some systems."""
    names = table["case"].tolist()
    counts = Counter(names)
    first: dict[str, int] = {}
    for row, name in enumerate(names, start=2):
        if name and counts[name] > 1 and first.setdefault(name, row) != row:
            message = f"duplicate of row {first[name]}; names are unique"
            yield ManifestIssue(row, name, "case", message)
    folded: dict[str, str] = {}
    for row, name in enumerate(names, start=2):
        other = folded.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if name != other:
            message = (
                f"{name!r} and {other!r} differ by case alone and share a file on some systems; "
                f"rename one"
            )
            yield ManifestIssue(row, name, "case", message)


def _shared_patients(table: pd.DataFrame) -> Iterator[ManifestIssue]:
    """Yield cases whose patient is in another split too."""
    if "split" not in table:
        return
    first: dict[str, tuple[int, str]] = {}
    rows = zip(*(table[c].tolist() for c in ("case", "patient", "split")), strict=True)
    for number, (name, patient, split) in enumerate(rows, start=2):
        if patient and split:
            row, other = first.setdefault(patient, (number, split))
            if other != split:
                message = (
                    f"patient {patient!r} is in {split} here and in {other} in row {row}; keep a "
                    f"patient in one split"
                )
                yield ManifestIssue(number, name, "split", message)


def _case(row: Row, root: Path, extra: list[str]) -> Case:
    paths: dict[str, Any] = {name: root / row[name] for name in FIELDS if row.get(name)}
    return Case(
        case=row["case"],
        patient=row["patient"],
        image=root / row["image"],
        role=cast(Role, row["role"]),
        bag_label=BAG_LABELS[row.get("bag_label", "")],
        split=cast("Split | None", row.get("split") or None),
        cohort=row.get("cohort", ""),
        targets={name: row[name] for name in extra},
        **paths,
    )


BAG_LABELS: dict[str, int | None] = {
    "": None,
    "0": 0,
    "1": 1,
    "0.0": 0,
    "1.0": 1,
    "0,0": 0,
    "1,0": 1,
}
"""Spellings of a scan-level label; spreadsheets turn integers next to blanks into floats, with the
decimal separator of the locale."""
