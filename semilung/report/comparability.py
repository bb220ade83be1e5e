"""Errors for invalid comparisons: unequal cases, duplicate runs, leaking splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from semilung.report.study import Group, Run, Study
from semilung.runs.leakage import Subject, read_patients, training_leaks
from semilung.types import UserError


def require_comparable(study: Study) -> list[str]:
    """Raise UserError unless all runs can be compared.

    Returns:
        Sentences for the page on what could not be checked.

    Raises:
        UserError: Contenders (or their seeds) were evaluated on different cases, two runs are of
            the same contender, seed and case, or a patient is in training and evaluation.
    """
    _require_same_cases(study.groups)
    patients: dict[str, dict[str, str] | None] = {}
    for run in study.runs:
        manifest = str((run.config.get("data") or {}).get("manifest"))
        if manifest not in patients:
            patients[manifest] = read_patients(Path(manifest))
        _require_unseen(run, patients[manifest])
    if None in patients.values():
        return [
            "A manifest was moved after training, so leakage between training and evaluation was "
            "checked by case, but not by patient."
        ]
    return []


def _require_same_cases(groups: Sequence[Group]) -> None:
    by_manifest: dict[object, list[Group]] = defaultdict(list)
    for group in groups:
        # arms are compared within a manifest, so cases of different manifests may differ
        by_manifest[group.runs[0].values.get("data.manifest")].append(group)
    for manifest_groups in by_manifest.values():
        _require_equal_cases(manifest_groups)


def _require_equal_cases(groups: Sequence[Group]) -> None:
    run_of_case: dict[str, dict[str, str]] = defaultdict(dict)
    for group in groups:
        for name, runs in group.contenders.items():
            for run in runs:
                label = ", ".join(filter(None, [name, group.label, f"seed {run.seed}"]))
                evaluated = run_of_case[label]
                repeated = [case for case in run.cases["case"] if case in evaluated]
                if repeated:
                    msg = (
                        f"{evaluated[repeated[0]]} and {run.name} are both {label}, and both were "
                        f"evaluated on {repeated[0]}; give one of them"
                    )
                    raise UserError(msg)
                evaluated |= dict.fromkeys(run.cases["case"], run.name)
    (first, expected), *others = run_of_case.items()
    for label, evaluated in others:
        unequal = sorted(set(expected) ^ set(evaluated))
        if unequal:
            msg = (
                f"test cases differ: ({first}) and ({label}) were evaluated on different cases; "
                f"only one of them has {', '.join(unequal[:5])}"
                f"{' ...' if len(unequal) > 5 else ''}. "
                f"State the splits in the manifest, or finish every fold, then train and evaluate "
                f"again"
            )
            raise UserError(msg)


def _require_unseen(run: Run, patients: Mapping[str, str] | None) -> None:
    """Raise UserError where a run was evaluated on a case that it has trained on."""
    evaluated = [Subject(case, (patients or {}).get(case)) for case in run.cases["case"]]
    leaks = training_leaks(evaluated, run.splits, patients)
    if leaks:
        raise UserError(
            f"{run.folder} was trained on {', '.join(leak.case for leak in leaks[:5])} or on other "
            f"cases of their patients, and evaluated on them: the split leaks. Assign every "
            f"patient to one split in the manifest, then train and evaluate again"
        )
