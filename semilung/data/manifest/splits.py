"""Splits and label budgets: pure functions of cases and a seed."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from semilung.data.manifest.cases import Case
from semilung.files import read_json
from semilung.types import ROLES, SPLITS, Role, Split, UserError

Splits: TypeAlias = dict[str, dict[str, str]]
"""Maps each case to its `split` and its `role`."""


def assign_splits(
    cases: Sequence[Case],
    *,
    seed: int,
    val_fraction: float,
    test_fraction: float,
    folds: int | None = None,
    fold: int = 0,
) -> list[Case]:
    """Assign every case a split, patient-wise.

    Splits stated in the manifest are kept, and a patient's other cases follow them. The remaining
    patients are drawn by seed, stratified by role (a patient of several roles counts as the first
    of labelled, unlabelled, healthy, weak), such that a role of two or more patients is in train
    and in validation. A test or validation set stated in the manifest is not added to. Patients
    with unlabelled cases only cannot be evaluated, so they stay in train.

    With `folds`, all patients outside test form one pool, whatever their split was, which is
    divided into `folds` stratified parts; part `fold` becomes validation and the rest train. Each
    patient of the pool is in validation in exactly one fold.

    Raises:
        UserError: A fold of the labelled or healthy cases would be empty.
    """
    home: dict[str, Split] = {c.patient: c.split for c in cases if c.split is not None}
    strata, stated = _strata(cases), frozenset(home)
    parts: list[tuple[Split, float]] = [("test", test_fraction), ("val", val_fraction)]
    parts = [(split, share) for split, share in parts if split not in home.values()]
    for role, patients in strata.items():
        free = [p for p in _shuffled(patients, seed, f"split {role}") if p not in home]
        total = len(free)
        for split, share in parts if role != "unlabelled" else []:
            count = round(share * total)
            home.update(dict.fromkeys(free[:count], split))
            free = free[count:]
        home.update(dict.fromkeys(free, "train"))
    if any(split == "val" and share > 0 for split, share in parts):
        _spread(home, cases, stated, seed)
    if folds is not None:
        _cross_validate(home, strata, seed, folds, fold)
    return [c if c.split == home[c.patient] else replace(c, split=home[c.patient]) for c in cases]


def apply_label_budget(
    cases: Sequence[Case], *, labelled: int | None, rest: str, seed: int
) -> list[Case]:
    """Keep the masks of `labelled` training cases by seed; the others become `rest`.

    Budgets are nested: with one seed, the cases of budget 4 are among those of budget 8. Cases of
    validation and test keep their masks. A case that becomes unlabelled loses mask, nodules and
    scan-level label, one that becomes weak loses mask and nodules. With `nodules` it stays labelled
    and loses the mask alone: its file is never opened, and what is known are centres and diameters.

    Args:
        cases: Cases with splits.
        labelled: The budget; None keeps all.
        rest: `unlabelled`, `weak`, `nodules` or `drop`.
        seed: Seed of the selection.

    Raises:
        UserError: There are fewer labelled training cases than the budget, or a case without a
            scan-level label would become weak, or one without nodules be labelled by them.
    """
    if labelled is None:
        return list(cases)
    with_masks = [case for case in cases if case.role != "labelled" or case.mask is not None]
    surplus = _surplus(with_masks, "labelled", labelled, seed, "budget")
    if rest == "drop":
        return [case for case in cases if case.case not in surplus]
    return [_demote(case, rest) if case.case in surplus else case for case in cases]


def keep_healthy(cases: Sequence[Case], count: int | None, *, seed: int) -> list[Case]:
    """Keep `count` healthy training cases by seed and drop the others; None keeps all.

    Amounts are nested, as label budgets are. Cases of validation and test stay.

    Raises:
        UserError: There are fewer healthy training cases than `count`.

    Example:
        >>> names = "abc"
        >>> cases = [Case(n, n, Path(n), "healthy", split="train") for n in names]
        >>> len(keep_healthy(cases, 2, seed=0))
        2
    """
    if count is None:
        return list(cases)
    surplus = _surplus(cases, "healthy", count, seed, "healthy")
    return [case for case in cases if case.case not in surplus]


def read_splits(path: Path) -> Splits:
    """Read the splits and roles after the budget that a run has saved.

    Raises:
        UserError: The file is missing or damaged.
    """
    splits = read_json(path)
    valid = isinstance(splits, dict) and all(
        isinstance(row, dict) and row.get("split") in SPLITS and row.get("role") in ROLES
        for row in splits.values()
    )
    if not valid:
        raise UserError(
            f"{path} holds no splits and roles of cases: the run's folder is damaged; restore the "
            f"file"
        )
    return cast(Splits, splits)


def _surplus(cases: Sequence[Case], role: Role, count: int, seed: int, purpose: str) -> set[str]:
    """Return the training cases of a role beyond the `count` of a seed; nested in `count`."""
    names = [c.case for c in cases if c.role == role and c.split == "train"]
    if count > len(names):
        raise UserError(
            f"data.{role}={count}, but there are {len(names)} {role} training cases; ask for at "
            f"most that many"
        )
    return set(_shuffled(names, seed, purpose)[count:])


def _demote(case: Case, rest: str) -> Case:
    if rest == "unlabelled":
        return replace(case, role="unlabelled", mask=None, nodules=(), bag_label=None)
    if rest == "nodules":
        return _without_mask(case)
    if rest != "weak":
        raise UserError(
            f"data.rest={rest!r} is unknown; there are unlabelled, weak, nodules and drop"
        )
    if case.bag_label is None:
        raise UserError(
            f"data.rest=weak, but case {case.case!r} has no scan-level label; fill its bag_label "
            f"in the manifest, or choose data.rest=unlabelled"
        )
    return replace(case, role="weak", mask=None, nodules=())


def _without_mask(case: Case) -> Case:
    if all(nodule.ignored for nodule in case.nodules):
        raise UserError(
            f"data.rest=nodules, but nodules.csv lists no nodule of case {case.case!r}; add its "
            f"centre and diameter, or choose data.rest=unlabelled"
        )
    return replace(case, mask=None)


def _strata(cases: Iterable[Case]) -> dict[Role, list[str]]:
    """Group patients by the first of their roles in the order of `ROLES`."""
    rank = {role: number for number, role in enumerate(ROLES)}
    best: dict[str, int] = {}
    for case in cases:
        best[case.patient] = min(best.get(case.patient, len(ROLES)), rank[case.role])
    strata: dict[Role, list[str]] = defaultdict(list)
    for patient, number in sorted(best.items()):
        strata[ROLES[number]].append(patient)
    return strata


def _spread(
    home: dict[str, Split], cases: Sequence[Case], stated: frozenset[str], seed: int
) -> None:
    """Bring each role of two or more patients into train and validation, in place.

    A patient is moved only if its old split keeps every role; patients of test are moved first.
    """
    patients: dict[Role, set[str]] = defaultdict(set)
    for case in cases:
        patients[case.role].add(case.patient)

    def is_last(patient: str) -> bool:
        others = [members - {patient} for members in patients.values() if patient in members]
        split = home[patient]
        return split != "test" and any(all(home[p] != split for p in rest) for rest in others)

    for role, split in product(ROLES, ("train", "val")):
        members = _shuffled(patients[role], seed, f"spread {role}")
        if role == "unlabelled" or len(members) < 2 or any(home[p] == split for p in members):
            continue
        free = [p for p in members if p not in stated and not is_last(p)]
        if free:
            home[min(free, key=lambda p: home[p] != "test")] = cast(Split, split)


def _cross_validate(
    home: dict[str, Split], strata: dict[Role, list[str]], seed: int, folds: int, fold: int
) -> None:
    """Redistribute all patients outside test over the folds, in place."""
    for role, patients in strata.items():
        pool = [p for p in _shuffled(patients, seed, f"fold {role}") if home[p] != "test"]
        if role == "unlabelled":
            home.update(dict.fromkeys(pool, "train"))
            continue
        if role != "weak" and 0 < len(pool) < folds:
            raise UserError(
                f"data.folds={folds}, but only {len(pool)} patients with {role} cases are outside "
                f"the test set; use fewer folds"
            )
        for position, patient in enumerate(pool):
            home[patient] = "val" if position % folds == fold else "train"


def _shuffled(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """Return `names` in an order that depends only on their set, the seed and the purpose."""
    ordered = sorted(names)
    rng = np.random.default_rng([seed, zlib.crc32(purpose.encode())])
    return [ordered[i] for i in rng.permutation(len(ordered))]
