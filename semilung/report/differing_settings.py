"""Settings and training data in which arms differ besides what they are named after."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from semilung.nested import leaves
from semilung.report.formatting import counted, listed, named
from semilung.report.study import Group, Run, Study
from semilung.training.training_config import RESUMABLE

FOLDS = ("data.folds", "data.fold")
"""Folds of one cross-validation are parts of one metric, not settings to compare."""

NOT_COMPARED = ("seed", "data.manifest", *RESUMABLE, *FOLDS)

BUDGETS = ("data.labelled", "data.healthy", "data.rest")
"""Settings that say which training cases keep their label."""

TRAINING_CASES = "training cases"


def unlike(study: Study, group: Group) -> dict[str, list[str]]:
    """Contender to the settings in which it differs from the reference besides its name's.

    An arm is named after its strategies and whether healthy scans teach; runs of one arm are named
    after the settings swept. What differs beyond these is confounded with them.

    Returns:
        Contenders that differ, with the keys of the settings; `TRAINING_CASES` stands for label
        budgets that differ without a setting that says so.
    """
    reference = group.contenders[group.reference][0]
    found = {
        name: _confounded(study, runs[0], reference)
        for name, runs in group.contenders.items()
        if name != group.reference
    }
    return {name: keys for name, keys in found.items() if keys}


def unlike_arms(study: Study) -> list[str]:
    """Caveats on arms that differ in more than their name says; label budgets come first."""
    pairs: dict[tuple[str, tuple[str, ...]], dict[str, None]] = defaultdict(dict)
    budgets: dict[str, None] = {}
    for group in study.groups:
        for name, keys in unlike(study, group).items():
            pairs[group.reference, tuple(keys)][name] = None
            if TRAINING_CASES in keys or set(BUDGETS) & set(keys):
                budgets[_budget_sentence(group, name)] = None
    what = "the strategy" if len(study.arms) > 1 else "one"
    settings = [
        f"{listed(map(named, names))} and {named(reference)} differ in "
        f"{counted(len(keys), 'more setting')} than {what}: {listed(keys)}. The difference between "
        f"them is that of all of these together, so no p-value is given; train them alike to "
        f"compare them."
        for (reference, keys), names in pairs.items()
    ]
    return [*budgets, *settings]


def _budget_sentence(group: Group, name: str) -> str:
    who = (name, group.reference)
    budgets = [
        listed(f"{count} {role}" for role, count in training_counts(group.contenders[arm][0]))
        for arm in who
    ]
    each = "; ".join(
        f"{named(arm)}: {cases or 'unknown'}" for arm, cases in zip(who, budgets, strict=True)
    )
    return f"The arms were trained with different label budgets ({each} training cases)."


def training_counts(run: Run) -> list[tuple[str, int]]:
    """Role to the number of training cases whose voxels are all known; healthy ones if read."""
    roles = ["labelled"]
    if leaves(run.config).get("data.batch.healthy") != 0:
        roles.append("healthy")
    counts = Counter(kept["role"] for kept in run.splits.values() if kept["split"] == "train")
    return [(role, counts[role]) for role in roles] if run.splits else []


def _confounded(study: Study, run: Run, reference: Run) -> list[str]:
    ours, theirs = leaves(run.config), leaves(reference.config)
    named_after = _named_after(study, run, reference)
    # a setting that only one run has came later, or belongs to its strategy
    keys = [
        key
        for key, value in ours.items()
        if key in theirs
        and value != theirs[key]
        and key not in named_after
        and key not in NOT_COMPARED
        and not key.startswith("strategies.")
        and not _is_unread_stream(key, value, theirs[key])
    ]
    both = dict(training_counts(run)), dict(training_counts(reference))
    differ = any(both[0][role] != both[1][role] for role in both[0].keys() & both[1].keys())
    stated = {*keys, *named_after} & set(BUDGETS)
    return [*keys, TRAINING_CASES] if differ and not stated else keys


def _named_after(study: Study, run: Run, reference: Run) -> set[str]:
    """Settings that tell the two apart in their names, and are the comparison itself."""
    differing = {key for key in study.axes if run.values.get(key) != reference.values.get(key)}
    named_after = differing if study.sweep or len(differing) == 1 else set()
    if set(run.config.get("strategies") or {}) == set(reference.config.get("strategies") or {}):
        named_after = named_after | {"data.batch.healthy"}
    if study.asked.get("equal") == "compute":
        named_after = named_after | {"trainer.max_steps"}
    return named_after


def _is_unread_stream(key: str, value: Any, other: Any) -> bool:
    """Whether one arm lacks a stream that the other's strategy reads."""
    return key in ("data.batch.unlabelled", "data.batch.weak") and 0 in (value, other)


def is_silent(run: Run) -> bool:
    """Whether a run predicts no voxel on any evaluated case."""
    return not (run.cases["predicted_volume_mm3"] > 0).any()


def silent_contenders(contenders: Mapping[str, list[Run]]) -> list[str]:
    """Contenders that predict nothing, in any run of theirs on any case."""
    return [name for name, runs in contenders.items() if all(map(is_silent, runs))]
