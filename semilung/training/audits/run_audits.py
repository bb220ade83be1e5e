"""The audits of a run at its start, its end and its evaluations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import pandas as pd
from torch import nn

from semilung.data import Case, PreparedCase, cached, prepare, read_manifest
from semilung.inference import Predictor
from semilung.inference.predictor import MASK_HEAD
from semilung.runs.checkpoint import load_checkpoint
from semilung.runs.load import load_predictor
from semilung.runs.run_folder import RunFolder
from semilung.runs.train_config import TrainConfig
from semilung.strategies import build_strategy
from semilung.tasks import Task, build_tasks, heads_of_tasks
from semilung.training.audits.audit import Audit, attempt, read_audits, save_audits, warn_of
from semilung.training.audits.cohort_confound import audit_cohort_confound
from semilung.training.audits.pseudo_label_quality import audit_pseudo_labels, choose_scans
from semilung.training.audits.settings_audit import audit_nodules, audit_settings, audit_splits
from semilung.training.audits.split_leakage import audit_split_leakage
from semilung.training.audits.term_effect import audit_term_effect, measure_gradients
from semilung.training.setup import Training
from semilung.types import Batch, Role, UserError

Audits = dict[str, Callable[[], Audit]]
Manifest = Callable[[], list[Case]]
"""Reads the run's manifest, once; within an audit, which an invalid manifest may stop."""


def audit_start(training: Training) -> None:
    """Audit the data before the first step; a run that goes on has been audited already."""
    config, streams, val = training.config, training.streams, training.val

    def open_cases(role: str) -> list[PreparedCase]:
        return [*streams.get(role, ()), *(item for item in val if item.case.role == role)]

    trained = {item.name: item for items in streams.values() for item in items}
    cases = training.cohort.cases
    audits: Audits = {
        "splits": lambda: audit_splits(cases, config),
        "nodules": lambda: audit_nodules(streams.get("labelled", [])),
        "settings": lambda: audit_settings(
            cases, config, training.views, teacher=training.learner.teacher is not None
        ),
        "cohort_confound": lambda: audit_cohort_confound(
            open_cases("labelled"),
            open_cases("healthy") if "healthy" in streams else [],
            config.data,
            config.augment,
            seed=config.seed,
        ),
        "split_leakage": lambda: audit_split_leakage(
            {"train": list(trained.values())}, val, what="val"
        ),
    }
    done = read_audits(training.run.audits)
    todo = {name: audit for name, audit in audits.items() if name not in done}
    warn_of(_keep(training.run, todo))


def gradients(training: Training, batch: Batch, seed: int) -> dict[str, float]:
    """`measure_gradients` on a step's batch; none where it cannot be done, and training goes on."""
    fabric = training.fabric
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    try:
        return measure_gradients(
            training.learner,
            batch,
            training.step / training.config.trainer.max_steps,
            seed=seed,
            autocast=fabric.autocast,
            scale=scaler.get_scale() if scaler is not None else 1.0,
        )
    except RuntimeError as error:  # out of memory, or a strategy that cannot be copied
        warnings.warn(f"audit term_effect: no gradients could be measured: {error}", stacklevel=2)
        return {}


def audit_end(run: RunFolder, task: Task) -> None:
    """Audit what a finished training has logged.

    Args:
        run: Its folder.
        task: The first of its tasks, whose reference term the other terms are compared with.
    """
    audits = {"term_effect": lambda: audit_term_effect(_metrics(run), task.reference_term)}
    warn_of(_keep(run, audits))


def _metrics(run: RunFolder) -> pd.DataFrame:
    """What the training has logged; a term named `nan` keeps its name."""
    return pd.read_csv(run.metrics, converters={"name": str})


def audit_evaluation(
    folder: Path,
    config: TrainConfig,
    evaluated: Sequence[PreparedCase],
    *,
    what: str,
    manifest: Path | None = None,
) -> None:
    """Audit a run that is being evaluated, and warn of each finding about it.

    Masks beyond the label budget are opened here, and only where the training has ended.

    Args:
        folder: The run's.
        config: The run's.
        evaluated: The evaluated cases.
        what: Their name: `val`, `test`, or a manifest's.
        manifest: Where the run's own manifest is now, if it has moved.
    """
    run, source = RunFolder(folder), str(manifest or config.data.manifest)
    named = cache(partial(read_manifest, source))
    try:
        _keep(
            run,
            {
                f"split_leakage_{what}": lambda: _leakage(run, config, named, evaluated, what),
                "pseudo_labels": lambda: _pseudo_labels(run, config, named),
            },
        )
    except UserError as error:  # the run's folder need not be writable
        warnings.warn(f"the audits are not saved: {error}", stacklevel=2)
    warn_of(read_audits(run.audits))


def _keep(run: RunFolder, audits: Audits) -> dict[str, Audit]:
    findings = {name: attempt(audit) for name, audit in audits.items()}
    save_audits(run.audits, findings)
    return findings


def _leakage(
    run: RunFolder,
    config: TrainConfig,
    named: Manifest,
    evaluated: Sequence[PreparedCase],
    what: str,
) -> Audit:
    training = {
        split: cached(_cases(run, named(), split), config.data)
        for split in ("train", "val")
        if split != what
    }
    return audit_split_leakage(training, evaluated, what=what)


def _pseudo_labels(run: RunFolder, config: TrainConfig, named: Manifest) -> Audit:
    if MASK_HEAD not in heads_of_tasks(build_tasks(config.tasks).values()):
        return Audit("not applicable", "No task of this run predicts masks")
    state = load_checkpoint(run.last)
    previous = read_audits(run.audits).get("pseudo_labels")
    if previous is not None and previous.metrics.get("step") == state["step"]:
        return previous
    train = cached(_cases(run, named(), "train"), config.data)
    unlabelled, labelled = (
        [p.case for p in choose_scans([p for p in train if p.case.role in r], seed=config.seed)]
        for r in (("unlabelled", "weak"), ("labelled",))
    )
    if state["step"] == config.trainer.max_steps:
        unlabelled = _with_hidden_masks(unlabelled, named())
    predictor, other = (
        None if net is None else Predictor([net], config.inference, config.data)
        for net in (load_predictor(run.path), _other_net(run, state))
    )
    assert predictor is not None
    audit = audit_pseudo_labels(
        predictor,
        other,
        prepare(unlabelled, config.data, progress=False),
        prepare(labelled, config.data, progress=False),
    )
    audit = replace(audit, metrics={**audit.metrics, "step": state["step"]})
    if _learns_from_unlabelled(config):
        return audit
    idle = f"No strategy of this run learns from unlabelled scans. {audit.summary}"
    return replace(audit, status="ok", summary=idle, advice="")


def _learns_from_unlabelled(config: TrainConfig) -> bool:
    strategies = [build_strategy(name, options) for name, options in config.strategies.items()]
    return any("unlabelled" in {**s.needs.views, **s.needs.optional} for s in strategies)


def _cases(run: RunFolder, named: Sequence[Case], split: str) -> list[Case]:
    """The cases of a split as the training knew them, by its roles, masks of labelled ones only."""
    splits = run.read_splits()
    cases = [c for c in named if splits.get(c.case, {}).get("split") == split]
    roles = [cast(Role, splits[case.case]["role"]) for case in cases]
    return [
        replace(case, role=role, mask=case.mask if role == "labelled" else None)
        for case, role in zip(cases, roles, strict=True)
    ]


def _with_hidden_masks(cases: Sequence[Case], named: Sequence[Case]) -> list[Case]:
    """Cases beyond the label budget become what the manifest says: labelled."""
    hidden = {case.case: case for case in named if case.role == "labelled"}
    return [hidden.get(case.case, case) for case in cases]


def _other_net(run: RunFolder, state: Mapping[str, Any]) -> nn.Module | None:
    """What the predictor is compared with: the run's second net, else an earlier best one."""
    if state["predictor"] != "student":
        return load_predictor(run.path, net="student")
    if any(name.startswith("teacher.net.") for name in state["learner"]):
        return load_predictor(run.path, net="teacher.net")
    if run.best.exists() and load_checkpoint(run.best)["step"] != state["step"]:
        return load_predictor(run.path, "best")
    return None
