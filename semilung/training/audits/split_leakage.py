"""Audit of leakage between the training and the evaluated cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semilung.data import PreparedCase
from semilung.runs.leakage import Subject, find_leaks
from semilung.training.audits.audit import Audit

SHOWN = 5
"""Leaks that a summary names at most."""


def audit_split_leakage(
    training: Mapping[str, Sequence[PreparedCase]],
    evaluated: Sequence[PreparedCase],
    *,
    what: str,
) -> Audit:
    """Look for cases, patients and volumes that are on both sides of a split.

    A manifest that states a patient in two splits is refused when it is read. Here the voxels
    themselves are compared too, which finds the same scan under another name.

    Args:
        training: Split (`train`, `val`) to the cases that the training has seen of it.
        evaluated: The evaluated cases.
        what: Their name: `val`, `test`, or a manifest's.

    Raises:
        UserError: A volume of the cache is damaged.
    """
    leaks = find_leaks(
        {split: [Subject.of(item) for item in items] for split, items in training.items()},
        [Subject.of(item) for item in evaluated],
    )
    count = sum(len(items) for items in training.values())
    metrics = {"leaks": len(leaks), "judged_cases": len(evaluated), "known_cases": count}
    sides = f"{len(evaluated)} cases of {what} and {count} of {' and '.join(training)}"
    if not evaluated or not count:
        return Audit("not applicable", f"There are {sides} to compare", metrics=metrics)
    if not leaks:
        summary = f"No case, patient or volume is shared by {sides}"
        return Audit("ok", summary, metrics=metrics)
    clauses = "; ".join(str(leak) for leak in leaks[:SHOWN])
    more = f" and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
    return Audit(
        "warning",
        f"{clauses}{more} (compared: {sides})",
        "Keep all scans of a patient in one split, under one patient in the manifest; the metrics "
        "of these cases are too good",
        metrics,
    )
