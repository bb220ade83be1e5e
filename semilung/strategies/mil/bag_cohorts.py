"""Checks of bags: both labels are present, and the cohort does not predict the label."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from semilung.data import PreparedCase, bag_label
from semilung.types import UserError

REMEDY = (
    "Bags come from weak, labelled and healthy scans with data.batch.<stream> above 0; the "
    "manifest's column `bag_label` is 1 for weak and labelled scans with a nodule, else 0"
)


def require_both_labels(streams: Mapping[str, Sequence[PreparedCase]]) -> None:
    """Raise UserError unless there are positive and negative bags."""
    labels = [bag_label(item) for cases in streams.values() for item in cases]
    if not labels:
        raise UserError(f"strategy 'mil' learns from bags of scans, and there are none. {REMEDY}")
    if len(set(labels)) == 1:
        kind, other = ("positive", "negative") if labels[0] else ("negative", "positive")
        msg = (
            f"strategy 'mil' classifies scans with and without nodules, but all "
            f"{len(labels)} bags of {' and '.join(streams)} scans are {kind}: there is no {other} "
            f"one. {REMEDY}"
        )
        raise UserError(msg)


def warn_of_predictive_cohorts(streams: Mapping[str, Sequence[PreparedCase]]) -> None:
    """Warn if the label of a bag can be predicted from its cohort, and so from the scanner.

    That is the case if positive and negative bags share no cohort, or if all bags of one label come
    from one cohort and some of the other label from another.
    """
    cohorts: dict[int, set[str]] = {0: set(), 1: set()}
    for cases in streams.values():
        for item in cases:
            cohorts[bag_label(item)].add(item.case.cohort)
    negative, positive = cohorts[0], cohorts[1]
    if not negative or not positive or negative == positive:
        return
    if negative.isdisjoint(positive) or 1 in (len(negative), len(positive)):
        warnings.warn(
            f"positive bags come from the cohorts {_named(positive)}, negative ones from "
            f"{_named(negative)}: the network can learn the scanner instead of the nodule, with a "
            "low bag loss. Add scans of both labels from each cohort, and evaluate on a cohort "
            "that was not used for training",
            stacklevel=2,
        )


def _named(cohorts: set[str]) -> str:
    return ", ".join(repr(name) for name in sorted(cohorts))
