"""Audits of what was asked for: splits to evaluate on, nodules to learn, settings with effect."""

from __future__ import annotations

from collections.abc import Sequence

from semilung.data import Case, PreparedCase
from semilung.data.cache.label_checks import nodule_doubt
from semilung.data.cache.open_cohort import stream_sizes
from semilung.data.manifest.split_warnings import split_doubts
from semilung.runs.train_config import TrainConfig
from semilung.training.audits.audit import Audit
from semilung.training.unused_settings import unused_settings


def audit_splits(cases: Sequence[Case], config: TrainConfig) -> Audit:
    """What the run's splits leave without evaluation.

    Args:
        cases: Of the run, with splits.
        config: Of the run; a cross-validation has no need of a test set.
    """
    doubts = list(split_doubts(cases, splits=("val",) if config.data.folds else ("val", "test")))
    if not doubts:
        return Audit("ok", "Every role is in train and in what is evaluated")
    advice = "State the splits in the manifest, or read the evaluation with this in mind"
    return Audit("warning", "; ".join(doubts), advice)


def audit_nodules(labelled: Sequence[PreparedCase]) -> Audit:
    """Whether the labelled training cases hold a nodule at all."""
    doubt = nodule_doubt(labelled)
    if doubt is not None:
        return Audit("warning", doubt, "Run `semilung data check` on the manifest")
    return Audit("ok", "The labelled training cases hold nodules")


def audit_settings(
    cases: Sequence[Case],
    config: TrainConfig,
    views: dict[str, tuple[str, ...]],
    *,
    teacher: bool,
) -> Audit:
    """Which settings that differ from the defaults have no effect in this run."""
    unused = list(
        unused_settings(config, views, stream_sizes(cases, config.data.batch), teacher=teacher)
    )
    if not unused:
        return Audit("ok", "Every setting that differs from its default has an effect")
    summary = f"Settings without effect: {'; '.join(unused)}"
    return Audit("warning", summary, "Leave them out, or change what they need")
