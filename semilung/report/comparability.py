"""Comparisons that no report should print: other cases, doubled runs, leaking splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from semilung.data import read_manifest
from semilung.report.study import Group, Run, Study
from semilung.types import UserError


def require_fair(study: Study) -> list[str]:
    """Refuse what would compare unlike things.

    Returns:
        What could not be checked, as sentences for the page.

    Raises:
        UserError: Contenders (or their seeds) were judged on different cases, two runs are the
            same contender and seed on the same case, or a split leaks a patient.
    """
    _require_same_cases(study.groups)
    patients: dict[str, dict[str, str] | None] = {}
    for run in study.runs:
        manifest = str((run.config.get("data") or {}).get("manifest"))
        if manifest not in patients:
            patients[manifest] = _patients(Path(manifest))
        _require_unseen(run, patients[manifest])
    if None in patients.values():
        return [
            "A manifest is not where its run found it, so cases were checked for leaks into "
            "training, but not their patients."
        ]
    return []


def _require_same_cases(groups: Sequence[Group]) -> None:
    by_manifest: dict[object, list[Group]] = defaultdict(list)
    for group in groups:
        # groups of different manifests are settings of their own, within which arms are compared
        by_manifest[group.runs[0].values.get("data.manifest")].append(group)
    for alike in by_manifest.values():
        _require_equal(alike)


def _require_equal(groups: Sequence[Group]) -> None:
    judged: dict[str, dict[str, str]] = defaultdict(dict)
    for group in groups:
        for name, runs in group.contenders.items():
            for run in runs:
                who = ", ".join(filter(None, [name, group.label, f"seed {run.seed}"]))
                known = judged[who]
                twice = [case for case in run.cases["case"] if case in known]
                if twice:
                    msg = (
                        f"{known[twice[0]]} and {run.name} are both {who} and both judged on "
                        f"{twice[0]}; give one of them"
                    )
                    raise UserError(msg)
                known |= dict.fromkeys(run.cases["case"], run.name)
    (first, expected), *others = judged.items()
    for who, found in others:
        unlike = sorted(set(expected) ^ set(found))
        if unlike:
            msg = (
                f"test cases differ: ({first}) and ({who}) were not judged on the same cases; only "
                f"one of them has {', '.join(unlike[:5])}{' ...' if len(unlike) > 5 else ''}. "
                f"State the splits in the manifest, or finish every fold, then train and evaluate "
                f"anew"
            )
            raise UserError(msg)


def _patients(manifest: Path) -> dict[str, str] | None:
    """Case to patient; None where the manifest is gone."""
    if not manifest.is_file():
        return None
    return {case.case: case.patient for case in read_manifest(manifest)}


def _require_unseen(run: Run, patients: dict[str, str] | None) -> None:
    splits = {case: kept["split"] for case, kept in run.splits.items()}
    owner = patients or {}
    trained = {owner.get(case, case) for case, split in splits.items() if split == "train"}
    seen = [case for case in run.cases["case"] if owner.get(case, case) in trained]
    if seen:
        msg = (
            f"{run.folder} was trained on {', '.join(seen[:5])} or on other cases of their "
            f"patients, and judged on them: the split leaks. Give every patient one split in the "
            f"manifest, then train and evaluate anew"
        )
        raise UserError(msg)
