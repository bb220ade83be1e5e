"""Findings compared with nodules, case by case, and their FROC analysis over all cases.

The rules are those of `luna16_froc`, whose CPM is the mean of the shares that `froc_shares` gives
the nodules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.evaluation.froc import FP_PER_SCAN, FrocCurve
from semilung.evaluation.mark_matching import MatchedMarks, lie_on

Values = NDArray[np.float64]


class Matched(NamedTuple):
    """The findings of a case next to its nodules.

    Attributes:
        hit: `(N,)`, the finding on each nodule, the most probable of several; -1 for none.
        false: `(M,)` bool, the findings that are on no nodule and on no ignored finding.
    """

    hit: NDArray[np.intp]
    false: NDArray[np.bool_]


def match_findings(
    points_mm: Values,
    probability: Values,
    centres_mm: Values,
    diameters_mm: Values,
    ignored: NDArray[np.bool_],
) -> Matched:
    """Match findings and nodules: one is on the other if the distance is less than the radius.

    Args:
        points_mm: `(M, 3)`, of the findings.
        probability: `(M,)`.
        centres_mm: `(N, 3)`, of nodules and ignored findings of the reference.
        diameters_mm: `(N,)`.
        ignored: `(N,)` bool; what is on these counts for nothing, unless it is on a nodule too.

    Returns:
        The matches; `hit` is -1 for ignored findings.
    """
    on = lie_on(points_mm, centres_mm, diameters_mm / 2)
    hit = np.full(len(centres_mm), -1, np.intp)
    for index in np.flatnonzero(np.logical_not(ignored)):
        candidates = np.flatnonzero(on[:, index])
        if len(candidates):
            hit[index] = candidates[np.argmax(probability[candidates])]
    return Matched(hit, np.logical_not(on.any(axis=1)))


def froc_points(scores: Values, false: Values, scans: int) -> tuple[Values, Values]:
    """Return the thresholds of an FROC curve, descending, and the false positives per scan at each.

    Args:
        scores: `(N,)` probability of the finding on each nodule; NaN where it was missed.
        false: `(F,)` probabilities of all false positives.
        scans: Number of scans.
    """
    hits = scores[~np.isnan(scores)]
    thresholds = np.unique(np.concatenate([hits, false]))[::-1]
    ascending = np.sort(false)
    counts = len(false) - np.searchsorted(ascending, thresholds, side="left")
    return thresholds, counts / scans


def froc_shares(
    scores: Values, false: Values, scans: int, rates: Sequence[float] = FP_PER_SCAN
) -> Values:
    """Return each nodule's share of the CPM, `(N,)` in [0, 1], so that their mean is the CPM.

    A share is the mean, over rates of false positives, of whether the nodule is detected at that
    rate; between two points of the curve it is interpolated, as sensitivity is.

    Args:
        scores: `(N,)` probability of the finding on each nodule; NaN where it was missed.
        false: `(F,)` probabilities of all false positives.
        scans: Number of scans, at least 1.
        rates: False positives per scan; the seven of the CPM by default.

    Example:
        >>> froc_shares(np.array([0.9, np.nan]), np.array([0.8]), 2).tolist()
        [1.0, 0.0]
    """
    thresholds, points = froc_points(scores, false, scans)
    points = np.concatenate([[0.0], points])
    shares = np.zeros(len(scores))
    for index in np.flatnonzero(~np.isnan(scores)):
        detected = np.concatenate([[0.0], (scores[index] >= thresholds).astype(float)])
        shares[index] = np.interp(rates, points, detected).mean()
    return shares


def froc_of(scans: pd.Series[str], lesions: pd.DataFrame, findings: pd.DataFrame) -> FrocCurve:
    """Return the FROC curve of an evaluation.

    Args:
        scans: Names of all cases, each once.
        lesions: `case`, `probability`: one row a nodule, NaN where it was missed.
        findings: `case`, `probability`, `false`: one row a finding.
    """
    index = pd.Index(scans)
    hits = lesions[lesions["probability"].notna()]
    false = findings[findings["false"].astype(bool)]
    numbers = [index.get_indexer(pd.Index(table["case"])) for table in (hits, false)]
    return FrocCurve(
        MatchedMarks(
            scan=np.concatenate(numbers),
            probability=np.concatenate([hits["probability"], false["probability"]]).astype(float),
            hit=np.repeat([True, False], [len(hits), len(false)]),
            nodules=np.bincount(index.get_indexer(pd.Index(lesions["case"])), minlength=len(index)),
            counts={},
        )
    )


def threshold_at_sensitivity(scores: Values, sensitivity: float) -> float:
    """Return the largest threshold at which a share of the nodules is detected; NaN for none.

    Example:
        >>> threshold_at_sensitivity(np.array([0.9, 0.5, 0.2, np.nan]), 0.5)
        0.5
    """
    needed = int(np.ceil(sensitivity * len(scores) - 1e-9))
    hits = np.sort(scores[~np.isnan(scores)])[::-1]
    return float(hits[needed - 1]) if 0 < needed <= len(hits) else np.nan
