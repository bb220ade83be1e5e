"""Importers: a user's data in one of the field's formats becomes a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from semilung.data.io.volume import read_volume
from semilung.data.manifest.cases import Case
from semilung.data.manifest.write_manifest import write_manifest
from semilung.registry import Registry
from semilung.suggestions import require_choice
from semilung.types import IGNORE, ROLES, Role, UserError

MANIFEST = "manifest.csv"


class Importer(Protocol):
    """Reads one format. Options of the format are keyword-only arguments of the constructor."""

    def cases(self, source: Path, out: Path) -> Sequence[Case]:
        """Return a case for each scan.

        Files are named where they are; what semilung cannot read as it is becomes a new file.

        Args:
            source: The user's file or folder.
            out: Folder for converted files.

        Raises:
            UserError: The source is not of the format, or has no scan; the message names the file.
        """
        ...


importers: Registry[Importer] = Registry("format", group="semilung.importers")
"""Importers by the name of their format; a new format is one file in this folder."""


def import_cohort(
    name: str,
    source: Path,
    out: Path,
    *,
    role: str | None = None,
    cohort: str | None = None,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> tuple[Path, list[Case]]:
    """Write the manifest of a user's data, and `nodules.csv` where it lists nodules.

    Args:
        name: Format, one of `importers`.
        source: The user's file or folder.
        out: Folder of the manifest and of converted files.
        role: Role of all cases instead of that of the format: `healthy` certifies every scan free
            of nodules. Labels that the role does not have are left out.
        cohort: Name of the cohort in the manifest; by default that of the source.
        options: Options of the format.
        overwrite: Replace an existing manifest.

    Returns:
        The manifest's path, and its cases.

    Raises:
        UserError: There is no such format, role or option, the source is not of the format or has
            no scan, or there is a manifest already.
    """
    if role is not None:
        require_choice("--role", role, ROLES)
    importer = importers.build(name, options or {})
    manifest = out / MANIFEST
    if manifest.exists() and not overwrite:
        raise UserError(f"{manifest} exists; choose another folder, or replace it with --overwrite")
    if not source.exists():
        raise UserError(f"{source} does not exist; give the {name} data's own file or folder")
    cases = list(importer.cases(source, out))
    if not cases:
        raise UserError(f"{source} holds no scan of the format {name}")
    label = source.resolve().stem if cohort is None else cohort
    cases = [replace(case, cohort=case.cohort or label) for case in cases]
    if role is not None:
        cases = [with_role(case, cast(Role, role)) for case in cases]
    return write_manifest(manifest, cases), cases


def with_role(case: Case, role: Role) -> Case:
    """Return the case with another role, without the labels that contradict it.

    A labelled case needs a mask or nodules, so one without keeps its role.

    Raises:
        UserError: The role is `labelled` and the case has neither mask nor nodules.
    """
    if role == "labelled":
        if case.mask is None and not case.nodules:
            raise UserError(
                f"case {case.case} has neither mask nor nodules, so its role cannot be labelled"
            )
        return replace(case, role=role)
    if role == "weak":
        label = _scan_label(case) if case.bag_label is None else case.bag_label
        if label is None:
            raise UserError(
                f"the role weak needs a label of the scan, and case {case.case} has none; give the "
                f"column bag_label, or the role unlabelled"
            )
        return replace(case, role=role, mask=None, nodules=(), bag_label=label)
    return replace(case, role=role, mask=None, nodules=(), bag_label=None)


def _scan_label(case: Case) -> int | None:
    """Return whether a scan holds a nodule, by its nodules or its mask; None without either."""
    if any(not nodule.ignored for nodule in case.nodules):
        return 1
    if case.mask is None:
        return None
    values = read_volume(case.mask).data
    return int(((values > 0) & (values != IGNORE)).any())
