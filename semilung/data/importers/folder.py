"""A folder of scans, sorted by role."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from semilung.data.importers.importer import importers
from semilung.data.importers.scan_files import by_name, require_scans
from semilung.data.importers.segment_masks import named_mask
from semilung.data.io.segments import as_patterns
from semilung.data.io.volume import stem_of
from semilung.data.manifest.cases import Case
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.types import ROLES, Role, UserError

MASK_ENDINGS = ("_mask", "-mask", "_seg", "-seg", ".seg", "_label", "-label", "_nodules")
"""Endings of the name of a mask that lies next to its scan."""

SCAN_ENDINGS = ("_ct", "-ct", "_image", "_img", "_scan")
"""Endings of the name of a scan that its mask's name does not have."""

MASK_FOLDERS = ("masks", "labels", "segmentations")
"""Folders with masks of the same names as the scans."""

PATIENTS = TableKind("a table of patients", ("case", "patient"), "a case")

BAGS = {"with_nodule": 1, "without_nodule": 0}
"""Folders below `weak`, and the label of their scans."""


@importers.register("folder")
class Folder:
    """A folder of scans, in subfolders named by role.

        labelled/A.nii.gz or A_ct.nii.gz, and labelled/A_mask.nii.gz or masks/A.nii.gz
        healthy/..., unlabelled/..., weak/with_nodule/..., weak/without_nodule/...

    A scan is a NIfTI, MetaImage or NRRD file, or a folder with the slices of a DICOM series, at any
    depth. Without folders of roles, scans with a mask are labelled and others unlabelled.

    Args:
        patient: Regular expression whose first group, found in a scan's name, is its patient; by
            default every scan is of its own patient.
        patients: CSV table with the columns `case` and `patient`, instead.
        segments: Names of the segments that are nodules, of masks that 3D Slicer saved as
            `.seg.nrrd`, such as `[nodule*]`; all of them by default.

    Raises:
        ValueError: Both tables are given, or an expression is invalid or has no group.
    """

    def __init__(
        self, *, patient: str = "", patients: str = "", segments: str | Sequence[str] = "*"
    ) -> None:
        if patient and patients:
            raise ValueError("give patient or patients, not both")
        try:
            self._pattern = re.compile(patient or "(.*)", re.DOTALL)
        except re.error as error:
            raise ValueError(f"patient={patient!r} is no regular expression: {error}") from error
        if not self._pattern.groups:
            raise ValueError(f"patient={patient!r} has no group; put the patient in parentheses")
        self._table = Path(patients) if patients else None
        self._segments = () if segments == "*" else as_patterns(segments)

    def cases(self, source: Path, out: Path) -> Sequence[Case]:
        """Return a case for each scan; errors as `Importer.cases`."""
        masks, scans = _separated(require_scans(source))
        names = by_name(scans, _case_name)
        self._require_owners(masks, names)
        patients = self._patients()
        cases = []
        for name, scan in names.items():
            role, bag_label = _role(scan.relative_to(source), name in masks)
            if role == "labelled" and name not in masks:
                raise UserError(
                    f"{scan} is in a folder labelled and has no mask: put it next to the scan as "
                    f"{name}_mask, or into a folder masks as {name}"
                )
            mask = masks.get(name) if role == "labelled" else None
            if mask is not None:
                target = out / "masks" / f"{name}.nii.gz"
                mask = named_mask(mask, scan, self._segments, target)
            cases.append(
                Case(
                    case=name,
                    patient=self._patient(name, patients),
                    image=scan,
                    role=role,
                    mask=mask,
                    bag_label=bag_label,
                )
            )
        return cases

    def _patients(self) -> Mapping[str, str]:
        if self._table is None:
            return {}
        table = read_table(self._table, PATIENTS)
        if lacking := set(PATIENTS.columns) - set(table.columns):
            raise UserError(f"{self._table} lacks the columns {', '.join(sorted(lacking))}")
        return dict(zip(table["case"], table["patient"], strict=True))

    def _patient(self, name: str, patients: Mapping[str, str]) -> str:
        if self._table is not None:
            if name not in patients:
                raise UserError(f"{self._table} has no row for the case {name}")
            return patients[name]
        match = self._pattern.search(name)
        if match is None or not match.group(1):
            raise UserError(
                f"patient={self._pattern.pattern!r} does not match the name {name!r}; every scan "
                f"needs a patient"
            )
        return str(match.group(1))

    @staticmethod
    def _require_owners(masks: Mapping[str, Path], scans: Mapping[str, Path]) -> None:
        for name, mask in masks.items():
            if name not in scans:
                raise UserError(
                    f"{mask} is a mask by its name or folder, and there is no scan {name!r}"
                )


def _case_name(scan: Path) -> str:
    return _without(SCAN_ENDINGS, stem_of(scan))


def _without(endings: Sequence[str], name: str) -> str:
    """Return a name without the ending that it has, whatever its case."""
    ending = next((ending for ending in endings if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)] or name


def _separated(paths: Sequence[Path]) -> tuple[dict[str, Path], list[Path]]:
    """Return masks by the name of their scan, and the scans."""
    masks: dict[str, Path] = {}
    scans = []
    for path in paths:
        name = _without(MASK_ENDINGS, stem_of(path))
        if name == stem_of(path) and not set(MASK_FOLDERS) & {
            parent.name for parent in path.parents
        }:
            scans.append(path)
            continue
        other = masks.setdefault(name, path)
        if other != path:
            raise UserError(f"{other} and {path} are masks of one scan; keep one")
    return masks, scans


def _role(path: Path, has_mask: bool) -> tuple[Role, int | None]:
    """Return the role and scan-level label of a scan, by the folders of its relative path.

    Raises:
        UserError: A weak scan lies in neither of the folders of its labels.
    """
    folders = path.parts[:-1] if path.suffix else path.parts
    role = next((folder for folder in folders if folder in ROLES), None)
    if role is None:
        return ("labelled" if has_mask else "unlabelled"), None
    if role != "weak":
        return cast(Role, role), None
    label = next((BAGS[folder] for folder in folders if folder in BAGS), None)
    if label is None:
        raise UserError(
            f"{path} is weak and its label is unknown; put it into weak/{' or weak/'.join(BAGS)}"
        )
    return "weak", label
