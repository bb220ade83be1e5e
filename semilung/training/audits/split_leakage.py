"""Is a case that is judged on known from the training?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from semilung.data import PreparedCase
from semilung.training.audits.audit import Audit

SHOWN = 5
"""How many leaks a summary names."""


def audit_split_leakage(
    known: Mapping[str, Sequence[PreparedCase]], judged: Sequence[PreparedCase], *, what: str
) -> Audit:
    """Look for cases, patients and volumes that stand on both sides of a split.

    A manifest that states a patient in two splits is refused when it is read. Here the case's
    name, its patient, and the voxels themselves are compared, which finds the same scan under
    another name too. Equal checksums of the cache point to candidates, whose voxels are then read.

    Args:
        known: Split (`train`, `val`) to the cases that the training has seen of it.
        judged: The cases to judge on.
        what: What they are called: `val`, `test`, `manifest`.

    Raises:
        UserError: A volume of the cache is damaged.
    """
    leaks = [leak for split, items in known.items() for leak in _leaks(items, judged, split)]
    figures = {
        "leaks": len(leaks),
        "judged_cases": len(judged),
        "known_cases": sum(len(items) for items in known.values()),
    }
    sides = f"{len(judged)} cases of {what} and {figures['known_cases']} of {' and '.join(known)}"
    if not judged or not figures["known_cases"]:
        return Audit("not applicable", f"There are {sides} to compare", figures=figures)
    if not leaks:
        summary = f"No case, patient or volume is shared by {sides}"
        return Audit("ok", summary, figures=figures)
    more = f" and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
    return Audit(
        "warning",
        f"{'; '.join(leaks[:SHOWN])}{more} (compared: {sides})",
        "Keep all scans of a patient in one split, under one patient in the manifest; the figures "
        "of these cases are too good",
        figures,
    )


def _leaks(known: Sequence[PreparedCase], judged: Sequence[PreparedCase], split: str) -> list[str]:
    """A line for each judged case that is known, by its name, its patient or its voxels."""
    names = {item.name for item in known}
    patients = {item.case.patient for item in known}
    stored: dict[bytes, list[PreparedCase]] = defaultdict(list)
    for item in known:
        stored[item.checksums].append(item)
    found = []
    for item in judged:
        case = item.case
        twins = [twin for twin in stored[item.checksums] if _same_voxels(item, twin)]
        if case.case in names:
            found.append(f"{case.case} is in {split} too")
        elif twins:
            found.append(f"{case.case} is the same volume as {twins[0].name} of {split}")
        elif case.patient in patients:
            found.append(f"{case.case} is of a patient of {split}")
    return found


def _same_voxels(one: PreparedCase, other: PreparedCase) -> bool:
    return one.shape == other.shape and np.array_equal(one.read("image"), other.read("image"))
