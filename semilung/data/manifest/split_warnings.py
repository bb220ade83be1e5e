"""Warnings of splits that leave roles or cohorts without evaluation, before training starts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from semilung.data.manifest.cases import Case
from semilung.types import EVALUATED_ROLES, SPLITS, Split

_CONSEQUENCES = {
    "val": "no checkpoint is selected and no progress is shown",
    "test": "`semilung evaluate` has nothing to evaluate but --split val or another --manifest",
}


def split_doubts(
    cases: Sequence[Case], *, splits: Sequence[Split] = ("val", "test")
) -> Iterator[str]:
    """Yield a sentence for each role or cohort that the splits leave without evaluation.

    Args:
        cases: Cases with splits.
        splits: Splits that should hold cases; cross-validation needs no test set.

    Example:
        >>> from pathlib import Path
        >>> cases = [Case(n, "p", Path(n), "healthy", split="train") for n in "ab"]
        >>> [doubt.split(":")[0] for doubt in split_doubts(cases, splits=("val",))]
        ['no labelled or healthy case is in val', 'the 2 healthy cases are of one patient']
    """
    evaluated = [case for case in cases if case.voxels_known]
    filled = [split for split in splits if any(case.split == split for case in evaluated)]
    for split in splits:
        if split not in filled:
            yield (
                f"no labelled or healthy case is in {split}: {_CONSEQUENCES[split]}; state the "
                f"column split in the manifest, or add patients"
            )
    for role in EVALUATED_ROLES:
        members = [case for case in evaluated if case.role == role]
        if not members:
            continue
        lacking = [s for s in SPLITS if s in ("train", *filled) and s not in _splits(members)]
        patients = len({case.patient for case in members})
        if patients == 1 and len(members) > 1:
            yield (
                f"the {len(members)} {role} cases are of one patient: they cannot both train and "
                f"be evaluated; if they are of several, fill the column patient"
            )
        elif lacking:
            yield (
                f"none of the {len(members)} {role} cases (patients: {patients}) is in "
                f"{' or '.join(lacking)}: nothing is learnt from or measured on {role} scans "
                f"there; state the column split in the manifest"
            )
    yield from _lone_patients(cases)


def _splits(cases: Sequence[Case]) -> set[str | None]:
    return {case.split for case in cases}


def _lone_patients(cases: Sequence[Case]) -> Iterator[str]:
    """Yield a sentence for each cohort of several scans and one patient."""
    cohorts: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        cohorts[case.cohort].append(case)
    several = len(cohorts) > 1
    for name, members in sorted(cohorts.items()):
        if several and name and len(members) > 1 and len({case.patient for case in members}) == 1:
            yield (
                f"cohort {name!r} has {len(members)} cases of one patient: it is in one split "
                f"alone, so that metrics on it say nothing about other patients of that cohort"
            )
