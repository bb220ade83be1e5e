"""Checks of the cohorts of bags: both labels present, label not predictable from the cohort."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from semilung.data import PreparedCase, bag_label
from semilung.types import UserError


def require_both_labels(streams: Mapping[str, Sequence[PreparedCase]]) -> None:
    """Refuse bags that are all positive or all negative, or none at all.

    Raises:
        UserError: Only one label, or no bag.
    """
    labels = [bag_label(item) for cases in streams.values() for item in cases]
    remedy = (
        "Bags come from weak, labelled and healthy scans whose data.batch.<stream> is above 0; the "
        "manifest's column `bag_label` says of weak and labelled ones whether they hold a nodule"
    )
    if not labels:
        raise UserError(f"strategy 'mil' learns from bags of scans, and there are none. {remedy}")
    if len(set(labels)) == 1:
        kind, other = ("positive", "negative") if labels[0] else ("negative", "positive")
        msg = (
            f"strategy 'mil' classifies scans with and without nodules, but all "
            f"{len(labels)} bags of {' and '.join(streams)} scans are {kind}: there is no {other} "
            f"one. {remedy}"
        )
        raise UserError(msg)


def warn_of_predictive_cohorts(streams: Mapping[str, Sequence[PreparedCase]]) -> None:
    """Warn if a bag's label can be predicted from its cohort, and so from the scanner.

    That is where positive and negative bags share no cohort, or where one label comes from a single
    cohort and the other label from elsewhere too.
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
            f"{_named(negative)}: the network can learn the scanner instead of the nodule, and its "
            "bag loss will look good. Add scans of both labels from each cohort, and evaluate on "
            "a cohort that was not trained on",
            stacklevel=2,
        )


def _named(cohorts: set[str]) -> str:
    return ", ".join(repr(name) for name in sorted(cohorts))
