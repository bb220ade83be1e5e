"""The cases that runs can be evaluated on: a split of theirs, or another manifest."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from semilung.data import Case, read_manifest
from semilung.runs.leakage import Subject, read_patients, training_leaks
from semilung.runs.run_folder import RunFolder
from semilung.runs.train_config import TrainConfig
from semilung.tasks import build_tasks, is_evaluated
from semilung.types import UserError


def split_cases(
    runs: Sequence[Path],
    configs: Sequence[TrainConfig],
    split: str,
    *,
    manifest: Path | None = None,
) -> list[Case]:
    """Return the labelled and healthy cases of the first run's split.

    Args:
        runs: Run folders.
        configs: Their configs.
        split: `train`, `val` or `test`.
        manifest: Where the first run's manifest is now, if it has moved.

    Raises:
        UserError: The manifest lacks a case of the run's splits, the split has no such case, or
            another of the runs has trained on a patient of it.
    """
    run = runs[0]
    splits = RunFolder(run).read_splits()
    source = manifest or configs[0].data.manifest
    cases = {case.case: case for case in read_manifest(str(source))}
    lost = sorted(set(splits) - set(cases))
    if lost:
        msg = f"{source} lacks cases that {run} was split by: {', '.join(lost[:5])}"
        raise UserError(msg)
    chosen = [cases[name] for name, entry in splits.items() if entry["split"] == split]
    _require_unseen(chosen, runs[1:], configs[1:])
    return _evaluable(chosen, configs[0], f"the {split} split of {run}")


def unseen_cases(
    runs: Sequence[Path], configs: Sequence[TrainConfig], manifest: Path
) -> list[Case]:
    """Return the labelled and healthy cases of another manifest.

    Raises:
        UserError: There is none, or a run has trained on a patient of them.
    """
    cases = read_manifest(str(manifest))
    _require_unseen(cases, runs, configs)
    return _evaluable(cases, configs[0], str(manifest))


def _require_unseen(
    cases: Sequence[Case], runs: Sequence[Path], configs: Sequence[TrainConfig]
) -> None:
    """Raise UserError where a run has trained on one of the cases, or on its patient."""
    subjects = [Subject.of(case) for case in cases]
    for run, config in zip(runs, configs, strict=True):
        source = Path(str(config.data.manifest))
        patients = read_patients(source)
        if patients is None:
            warnings.warn(
                f"{source}, by which {run} was split, was not found: cases were checked for leaks "
                f"into training by their names, but not their patients",
                stacklevel=2,
            )
        leaks = training_leaks(subjects, RunFolder(run).read_splits(), patients)
        if leaks:
            names = ", ".join(leak.case for leak in leaks[:5])
            raise UserError(f"{run} was trained on {names} or their patients; evaluate on others")


def _evaluable(cases: Sequence[Case], config: TrainConfig, source: str) -> list[Case]:
    """Return the cases that a task of the run can evaluate.

    Warns:
        UserWarning: Labelled cases lack labels, so that they are left out.

    Raises:
        UserError: There is none.
    """
    tasks = build_tasks(config.tasks).values()
    evaluable = [case for case in cases if is_evaluated(tasks, case)]
    fields = " or ".join(dict.fromkeys(field for task in tasks for field in task.fields))
    if not evaluable:
        raise UserError(f"{source} holds no labelled case with a {fields} and no healthy case")
    without = [c.case for c in cases if c.role == "labelled" and c not in evaluable]
    if without:
        warnings.warn(
            f"{len(without)} labelled cases of {source} have no {fields} and are not evaluated: "
            f"{', '.join(without[:5])}",
            stacklevel=3,
        )
    return evaluable
