"""Hits and false positives among a detector's marks, by the rules of the LUNA16 challenge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.inference.findings import COORDINATES

UNMEASURED_DIAMETER_MM = 10.0
"""Stands for a negative diameter, as most excluded findings of LUNA16 have."""


@dataclass(frozen=True, eq=False)
class MatchedMarks:
    """What a FROC curve is made of: detected nodules and false positives.

    Attributes:
        scan: Number of the scan of each, in `[0, scans)`.
        probability: Of each; a nodule's is the highest of the marks on it.
        hit: Whether it is a detected nodule; the others are false positives.
        nodules: Number of nodules of each scan, `(scans,)`, detected or not.
        counts: Those that the challenge prints.
    """

    scan: NDArray[np.intp]
    probability: NDArray[np.float64]
    hit: NDArray[np.bool_]
    nodules: NDArray[np.intp]
    counts: Mapping[str, float]


def most_probable(marks: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Return at most `limit` marks of each scan.

    Where a scan has more, those above the probability of the first one too many remain: marks that
    tie with it are all dropped, so that the choice does not depend on their order.

    Args:
        marks: Columns `scan` and `probability`.
        limit: At least 1.
    """
    descending = marks.sort_values("probability", ascending=False)
    one_too_many = descending[descending.groupby("scan").cumcount() == limit]
    bound = marks["scan"].map(one_too_many.set_index("scan")["probability"]).fillna(-np.inf)
    return marks[marks["probability"] > bound]


def match_marks(
    marks: pd.DataFrame, annotations: pd.DataFrame, excluded: pd.DataFrame, scans: int
) -> MatchedMarks:
    """Assign marks to findings.

    A mark is on a finding if its distance to the centre is less than the radius. A nodule is
    detected by the most probable mark on it; the others on it count for nothing, and so do marks on
    excluded findings that are on no nodule. All other marks are false positives.

    Args:
        marks: Columns `scan` (a number in `[0, scans)`), `COORDINATES`, `probability`.
        annotations: The nodules: `scan`, `COORDINATES`, `diameter_mm`.
        excluded: Findings that are neither nodule nor false positive, with the same columns.
        scans: Number of scans.
    """
    probability = marks["probability"].to_numpy()
    mark, nodule = _marks_on_findings(marks, annotations)
    on_nodule, on_excluded = np.zeros((2, len(marks)), dtype=bool)
    on_nodule[mark] = True
    on_excluded[_marks_on_findings(marks, excluded)[0]] = True
    highest = np.full(len(annotations), -np.inf)
    np.maximum.at(highest, nodule, probability[mark])
    detected = highest > -np.inf
    false = ~on_nodule & ~on_excluded
    nodule_scan, mark_scan = annotations["scan"].to_numpy(), marks["scan"].to_numpy()
    hits = int(detected.sum())
    return MatchedMarks(
        scan=np.concatenate([nodule_scan[detected], mark_scan[false]]),
        probability=np.concatenate([highest[detected], probability[false]]),
        hit=np.arange(hits + false.sum()) < hits,
        nodules=np.bincount(nodule_scan, minlength=scans),
        counts={
            "True positives": hits,
            "False positives": int(false.sum()),
            "False negatives": len(annotations) - hits,
            "True negatives": 0,
            "Total number of candidates": len(marks),
            "Total number of nodules": len(annotations),
            "Ignored candidates on excluded nodules": int((on_excluded & ~on_nodule).sum()),
            "Ignored candidates which were double detections on a nodule": len(mark) - hits,
            "Sensitivity": hits / len(annotations) if len(annotations) else np.nan,
            "Average number of candidates per scan": len(marks) / scans,
        },
    )


def _marks_on_findings(
    marks: pd.DataFrame, findings: pd.DataFrame
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of mark and finding of each pair of which one is on the other."""
    marks_of, findings_of = (table.groupby("scan").indices for table in (marks, findings))
    points, centres = (table[list(COORDINATES)].to_numpy() for table in (marks, findings))
    diameter = findings["diameter_mm"].to_numpy()
    radius = np.where(diameter < 0, UNMEASURED_DIAMETER_MM, diameter) / 2
    pairs: list[tuple[Any, Any]] = [(np.zeros(0, np.intp), np.zeros(0, np.intp))]
    for scan in marks_of.keys() & findings_of.keys():
        mark, finding = marks_of[scan], findings_of[scan]
        rows, columns = np.nonzero(lie_on(points[mark], centres[finding], radius[finding]))
        pairs.append((mark[rows], finding[columns]))
    first, second = (np.concatenate(positions) for positions in zip(*pairs, strict=True))
    return first, second


def lie_on(
    points: NDArray[np.float64], centres: NDArray[np.float64], radius: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return whether each point `(M, 3)` lies on each finding `(N, 3)`, nearer than its radius.

    Example:
        >>> lie_on(np.eye(3)[:2] * 2, np.zeros((1, 3)), np.array([2.0])).ravel().tolist()
        [False, False]
    """
    squared = ((points[:, None] - centres) ** 2).sum(axis=-1)
    near: NDArray[np.bool_] = squared < radius**2
    return near
