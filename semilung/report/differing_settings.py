"""Confounders: settings and training cases in which arms differ apart from those that name them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from semilung.nested import leaves
from semilung.report.formatting import counted, listed, quoted
from semilung.report.study import Group, Run, Study
from semilung.runs.train_config import RESUMABLE

FOLDS = ("data.folds", "data.fold")
"""Settings of a cross-validation, whose folds form one result."""

NOT_COMPARED = ("seed", "data.manifest", *RESUMABLE, *FOLDS)

BUDGETS = ("data.labelled", "data.healthy", "data.rest")
"""Settings that select the training cases whose label is used."""

TRAINING_CASES = "training cases"


def confounded(study: Study, group: Group) -> dict[str, list[str]]:
    """Return contenders that differ from the reference in settings that do not name them.

    An arm is named after its strategies and its use of healthy scans; runs of one arm are named
    after the swept settings. Any further difference is confounded with these.

    Returns:
        Contender to the keys of the settings; `TRAINING_CASES` if label budgets differ although the
        settings of the budget are equal.
    """
    reference = group.contenders[group.reference][0]
    confounders = {
        name: _confounders(study, runs[0], reference)
        for name, runs in group.contenders.items()
        if name != group.reference
    }
    return {name: keys for name, keys in confounders.items() if keys}


def confounded_arms(study: Study) -> list[str]:
    """Return caveats on confounded arms, those on label budgets first."""
    pairs: dict[tuple[str, tuple[str, ...]], dict[str, None]] = defaultdict(dict)
    budgets: dict[str, None] = {}
    for group in study.groups:
        for name, keys in confounded(study, group).items():
            pairs[group.reference, tuple(keys)][name] = None
            if TRAINING_CASES in keys or set(BUDGETS) & set(keys):
                budgets[_budget_sentence(group, name)] = None
    besides = "Besides the strategy, " if len(study.arms) > 1 else ""
    settings = [
        f"{besides}{listed(map(quoted, names))} and {quoted(reference)} differ in "
        f"{counted(len(keys), 'setting')}: {listed(keys)}. Their effects cannot be separated, so "
        f"no p-value is given; train the arms with equal settings to compare them."
        for (reference, keys), names in pairs.items()
    ]
    return [*budgets, *settings]


def _budget_sentence(group: Group, name: str) -> str:
    arms = (name, group.reference)
    budgets = [
        listed(f"{count} {role}" for role, count in training_counts(group.contenders[arm][0]))
        for arm in arms
    ]
    counts = "; ".join(
        f"{quoted(arm)}: {cases or 'unknown'}" for arm, cases in zip(arms, budgets, strict=True)
    )
    return f"The arms were trained with different label budgets ({counts} training cases)."


def training_counts(run: Run) -> list[tuple[str, int]]:
    """Return role and number of labelled and, if used, healthy training cases."""
    roles = ["labelled"]
    if leaves(run.config).get("data.batch.healthy") != 0:
        roles.append("healthy")
    counts = Counter(entry["role"] for entry in run.splits.values() if entry["split"] == "train")
    return [(role, counts[role]) for role in roles] if run.splits else []


def _confounders(study: Study, run: Run, reference: Run) -> list[str]:
    settings, reference_settings = run.settings, reference.settings
    named_after = _name_settings(study, run, reference)
    # a setting that only one run has was added in a later version, or belongs to its strategy
    keys = [
        key
        for key, value in settings.items()
        if key in reference_settings
        and value != reference_settings[key]
        and key not in named_after
        and key not in NOT_COMPARED
        and not key.startswith("strategies.")
        and not _is_unread_stream(key, value, reference_settings[key])
    ]
    counts, reference_counts = dict(training_counts(run)), dict(training_counts(reference))
    differ = any(counts[r] != reference_counts[r] for r in counts.keys() & reference_counts.keys())
    budget_settings = {*keys, *named_after} & set(BUDGETS)
    return [*keys, TRAINING_CASES] if differ and not budget_settings else keys


def _name_settings(study: Study, run: Run, reference: Run) -> set[str]:
    """Return the settings that distinguish the names of two runs, and so are compared."""
    differing = {key for key in study.axes if run.values.get(key) != reference.values.get(key)}
    keys = differing if study.sweep or len(differing) == 1 else set()
    if set(run.config.get("strategies") or {}) == set(reference.config.get("strategies") or {}):
        keys = keys | {"data.batch.healthy"}
    if study.request.get("equal") == "compute":
        keys = keys | {"trainer.max_steps"}
    return keys


def _is_unread_stream(key: str, value: Any, other: Any) -> bool:
    """Return whether one arm has no stream of this kind because its strategy reads none."""
    streams = ("unlabelled", "weak", "located")
    return key in {f"data.batch.{stream}" for stream in streams} and 0 in (value, other)
