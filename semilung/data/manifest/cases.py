"""The manifest: one CSV row a case. Its columns are the whole contract with the user's data."""

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
from semilung.data.manifest.table_file import read_table
from semilung.types import ROLES, SPLITS, Role, Split, UserError

REQUIRED = ("case", "patient", "image", "role")
OPTIONAL = (*FIELDS, "bag_label", "split", "cohort")

NAME_BYTES = 200
"""Longest name of a case: file systems take 255, of which endings need some."""

DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{d}{n}" for d in ("COM", "LPT") for n in range(1, 10))}
"""Names that Windows keeps for devices, whatever ending follows."""

Row: TypeAlias = Mapping[str, str]


class ManifestIssue(NamedTuple):
    """One thing wrong with a manifest: file row (the header is row 1), case, column, and what."""

    row: int
    case: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"row {self.row}, case {self.case!r}, {self.field}: {self.message}"


@dataclass(frozen=True)
class Case:
    """One scan and what is known of it.

    Attributes:
        case: Unique name.
        patient: Whose scan it is; a patient is never in two splits.
        image: CT in HU.
        role: What it teaches: `labelled`, `unlabelled`, `healthy` or `weak`.
        mask: 0 background, 1 to 254 nodule instances, 255 ignore; None where there is none.
        anatomy: Labels of known anatomy on the image's grid.
        bag_label: 1 where the scan holds a nodule, 0 where it holds none, None where unknown.
        split: `train`, `val` or `test`; None until it is drawn.
        cohort: Where the scan comes from (scanner, study), for reports a cohort.
        nodules: Rows of `nodules.csv`, the file next to the manifest.
        targets: The manifest's further columns, such as ratings or a histology.
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


def read_manifest(path: str | os.PathLike[str]) -> list[Case]:
    """Read and check a manifest's table; volumes are not opened (see `check_manifest`).

    Paths in it are relative to its folder. Absolute paths and `..` are allowed: a manifest is the
    user's own file, and reads what she may read. Do not run a stranger's manifest unread.

    Raises:
        UserError: The file is missing or no CSV, or its rows are wrong; all faults are listed.
    """
    with no_collection():
        cases, faults = scan_table(path)
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:50])
        more = f"\n  and {len(faults) - 50} more" if len(faults) > 50 else ""
        raise UserError(f"{path}: {len(faults)} errors in the manifest; fix them:\n{shown}{more}")
    return [case for _, case in cases]


def scan_table(path: str | os.PathLike[str]) -> tuple[list[tuple[int, Case]], list[ManifestIssue]]:
    """The cases that could be made, each with its row, and every fault of the table.

    Rows of `nodules.csv`, where the manifest's folder has one, are the cases' nodules.
    """
    path = Path(path)
    table = read_table(path)
    root, columns = path.parent, [str(column) for column in table.columns]
    faults = list(_column_faults(columns))
    if any(fault.field in REQUIRED for fault in faults):
        return [], faults
    if table.empty:
        faults.append(ManifestIssue(1, "", "case", "the manifest has no rows; add one a case"))
    extra = [column for column in columns if column not in REQUIRED + OPTIONAL]
    nodules, invalid = _read_nodules(root)
    faults.extend(invalid)
    cases: list[tuple[int, Case]] = []
    rows = zip(*(table[c].tolist() for c in columns), strict=True)
    for number, values in enumerate(rows, start=2):
        row = dict(zip(columns, values, strict=True))
        listed = nodules.get(row["case"], ())
        wrong = [ManifestIssue(number, row["case"], *fault) for fault in _row_faults(row, listed)]
        faults.extend(wrong)
        if not wrong:
            cases.append((number, replace(_case(row, root, extra), nodules=listed)))
    faults.extend(_cross_faults(table))
    return cases, sorted(faults)


@contextmanager
def no_collection() -> Iterator[None]:
    """Garbage collection off: walking a large cohort's rows again and again costs a third."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _column_faults(columns: list[str]) -> Iterator[ManifestIssue]:
    for name in REQUIRED:
        if name not in columns:
            found = ", ".join(columns)[:300]
            yield ManifestIssue(1, "", name, f"missing column; the columns found are: {found}")
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
    nodules, errors = read_nodules(path)
    listed = [ManifestIssue(e.row, e.case, f"{FILE_NAME}, {e.column}", e.message) for e in errors]
    return nodules, listed


def _row_faults(row: Row, nodules: Sequence[Nodule]) -> Iterator[tuple[str, str]]:
    """What is wrong with one row by itself: column and message."""
    for name in REQUIRED:
        if not row[name]:
            yield name, "is empty"
    for name in REQUIRED + OPTIONAL:
        if not row.get(name, "").isprintable():
            yield name, f"{row[name]!r} holds a control character"
    yield from _name_faults(row["case"])
    if row["role"] and row["role"] not in ROLES:
        yield "role", f"unknown role {row['role']!r}; there are {', '.join(ROLES)}"
    if row.get("split", "") not in ("", *SPLITS):
        yield "split", f"unknown split {row['split']!r}; there are {', '.join(SPLITS)}"
    if row.get("bag_label", "") not in BAG_LABELS:
        yield "bag_label", f"must be 0, 1 or empty, not {row['bag_label']!r}"
    else:
        yield from _role_faults(row, nodules)


def _name_faults(name: str) -> Iterator[tuple[str, str]]:
    """What keeps a case's name from being a file's."""
    if "/" in name or "\\" in name:
        yield "case", "names become file names: no slashes"
    if not name.strip(". ") or name.partition(".")[0].upper() in DEVICES:
        yield "case", f"names become file names: {name!r} is none on every system"
    if len(name.encode()) > NAME_BYTES:
        yield "case", f"names become file names: at most {NAME_BYTES} bytes"


def _role_faults(row: Row, nodules: Sequence[Nodule]) -> Iterator[tuple[str, str]]:
    """What a row's role asks of its other values."""
    role, bag = row["role"], BAG_LABELS[row.get("bag_label", "")]
    certain = sum(not nodule.ignored for nodule in nodules)
    if role == "labelled" and not row.get("mask", "") and not nodules:
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


def _cross_faults(table: pd.DataFrame) -> Iterator[ManifestIssue]:
    """What is wrong between rows: a case named twice, a patient in two splits."""
    names = table["case"].tolist()
    counts = Counter(names)
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=2):
        if name and counts[name] > 1 and first.setdefault(name, number) != number:
            yield ManifestIssue(
                number, name, "case", f"duplicate of row {first[name]}; names are unique"
            )
    alike: dict[str, str] = {}
    for number, name in enumerate(names, start=2):
        other = alike.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if name != other:
            text = f"{name!r} and {other!r} differ by case alone and share a file on some systems"
            yield ManifestIssue(number, name, "case", f"{text}; rename one")
    if "split" not in table:
        return
    home: dict[str, tuple[int, str]] = {}
    rows = zip(names, table["patient"].tolist(), table["split"].tolist(), strict=True)
    for number, (name, patient, split) in enumerate(rows, start=2):
        if patient and split:
            row, other = home.setdefault(patient, (number, split))
            if other != split:
                text = f"patient {patient!r} is in {split} here and in {other} in row {row}"
                yield ManifestIssue(number, name, "split", f"{text}; keep a patient in one split")


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
"""Spellings of a scan-level label; spreadsheets turn integers next to blanks into floats, and write
these with the point or the comma of the country."""
