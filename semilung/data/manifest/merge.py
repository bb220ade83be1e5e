"""One manifest from several."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from semilung.data.io.dicom.series import first_header
from semilung.data.io.dicom.series_path import folder_and_series
from semilung.data.io.volume import stem_of
from semilung.data.manifest.cases import Case, read_manifest
from semilung.data.manifest.pseudonyms import CASE, PATIENT
from semilung.data.manifest.write_manifest import write_manifest
from semilung.types import UserError

UID = re.compile(r"[0-9]+(\.[0-9]+){4,}")
"""A DICOM UID, which data sets such as LUNA16 use as file names."""


def merge_manifests(manifests: Sequence[Path], out: Path, *, overwrite: bool = False) -> Path:
    """Write the cases of several manifests as one.

    Names mean nothing across manifests: equal names of cases or patients become
    `<cohort>-<name>`, unless they are pseudonyms by a key, which are of one patient. Scans of one
    patient are found by UIDs instead, of DICOM headers and of file names: scans that share a study
    are of one patient, and a series that occurs twice is kept once, with its labels where one of
    the two is unlabelled.

    Args:
        manifests: Two or more.
        out: The new manifest.
        overwrite: Replace an existing one.

    Returns:
        `out`.

    Raises:
        UserError: A manifest is invalid, a series has two roles, a patient is in two splits, two
            manifests of equal cohorts have equal names, or `out` exists.

    Warns:
        UserWarning: Series that occur twice.
    """
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists; choose another name, or replace it with --overwrite")
    parts = [read_manifest(path) for path in manifests]
    merged = _linked(_distinct([_named(parts, i) for i in range(len(parts))]))
    _require_one_split(merged)
    return write_manifest(out, merged)


def _named(parts: Sequence[list[Case]], index: int) -> list[Case]:
    """Return a part with its cohort in names of cases and patients that other parts have too."""
    others = [case for i, part in enumerate(parts) for case in part if i != index]
    names, patients = {c.case.casefold() for c in others}, {c.patient for c in others}
    return [
        replace(
            case,
            case=_own_name(case.case, case.case.casefold() in names, case.cohort, CASE),
            patient=_own_name(case.patient, case.patient in patients, case.cohort, PATIENT),
        )
        for case in parts[index]
    ]


def _own_name(name: str, repeated: bool, cohort: str, pseudonym: re.Pattern[str]) -> str:
    return f"{cohort}-{name}" if repeated and not pseudonym.fullmatch(name) else name


def _distinct(parts: Sequence[list[Case]]) -> list[tuple[Case, list[str]]]:
    """Return each series once, with its UIDs.

    Raises:
        UserError: Names are not distinct, or a series has two roles.
    """
    first: dict[str, int] = {}
    distinct: list[tuple[Case, list[str]]] = []
    repeated = []
    for case in (case for part in parts for case in part):
        uids = uids_of(case)
        names = [uids[0], case.case] if CASE.fullmatch(case.case) else uids[:1]
        place = min(first.get(name, len(distinct)) for name in names)
        first |= dict.fromkeys(names, place)
        if place == len(distinct):
            distinct.append((case, uids))
            continue
        same = distinct[place][0]
        if same.role != case.role and "unlabelled" not in (same.role, case.role):
            raise UserError(
                f"{same.case} is {same.role} and {case.case} is {case.role}, and both are the same "
                f"scan; remove one of them"
            )
        repeated.append(f"{case.case} is {same.case}")
        if same.role == "unlabelled" != case.role:
            distinct[place] = (case, uids)
    if doubles := [name for name, n in Counter(case.case for case, _ in distinct).items() if n > 1]:
        raise UserError(
            f"manifests of equal cohorts have cases of equal names ({', '.join(doubles[:5])}); "
            f"name the cohorts apart in the column cohort"
        )
    if repeated:
        warnings.warn(
            f"{len(repeated)} scans occur twice and are kept once, with labels where one has some: "
            f"{', '.join(repeated[:5])}",
            stacklevel=3,
        )
    return distinct


def uids_of(case: Case) -> list[str]:
    """Return what identifies a scan, and the study it is of where that is known.

    The scan is identified by the UID of its series, or that of its file's name, or else its path.
    """
    if folder_and_series(case.image)[0].is_dir():
        with suppress(UserError, OSError):
            header = first_header(case.image)
            uids = [header.get(f"{level}InstanceUID") for level in ("Series", "Study")]
            if uids[0]:
                return [str(uid) for uid in uids if uid]
    name = UID.fullmatch(stem_of(case.image))
    return [name.group() if name else str(case.image.resolve())]


def _linked(cases: Sequence[tuple[Case, list[str]]]) -> list[Case]:
    """Return the cases with one name for the patient of scans that share a study."""
    patient_of: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for case, uids in cases:
        for uid in uids:
            name = patient_of.setdefault(uid, case.patient)
            old, new = _resolved(case.patient, renamed), _resolved(name, renamed)
            if old != new:
                renamed[old] = new
    return [replace(case, patient=_resolved(case.patient, renamed)) for case, _ in cases]


def _resolved(name: str, renamed: dict[str, str]) -> str:
    return name if name not in renamed else _resolved(renamed[name], renamed)


def _require_one_split(cases: Sequence[Case]) -> None:
    for patient, first, other in _in_two_splits(cases):
        raise UserError(
            f"{first.case} is in {first.split} and {other.case} in {other.split}, and both are of "
            f"the patient {patient}; keep a patient in one split"
        )


def _in_two_splits(cases: Sequence[Case]) -> Iterator[tuple[str, Case, Case]]:
    first: dict[str, Case] = {}
    for case in cases:
        if case.split is not None:
            other = first.setdefault(case.patient, case)
            if other.split != case.split:
                yield case.patient, other, case
