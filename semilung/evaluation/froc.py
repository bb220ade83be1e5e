"""FROC analysis of a detector's marks, by the rules of the LUNA16 challenge."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.evaluation.finding_tables import (
    ANNOTATION_COLUMNS,
    DETECTION_COLUMNS,
    finding_table,
    scan_index,
)
from semilung.evaluation.mark_matching import MatchedMarks, match_marks, most_probable

FP_PER_SCAN = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Rates of the challenge, at which sensitivity is read off the curve."""

CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Froc:
    """Sensitivity at seven rates of false positives, with 95 % bootstrap intervals over scans.

    Attributes:
        fp_per_scan: The rates, `FP_PER_SCAN`.
        sensitivity: At each rate; NaN if there is no nodule.
        cpm: Competition performance metric, the mean sensitivity over the seven rates.
        low: Lower bound at each rate; NaN without bootstrap samples that have a nodule.
        high: Upper bound.
        cpm_low: Lower bound of the CPM.
        cpm_high: Upper bound of the CPM.
        counts: The lines that the challenge prints (`CADAnalysis.txt`), by its names.
    """

    fp_per_scan: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    cpm: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    cpm_low: float
    cpm_high: float
    counts: Mapping[str, float]

    def table(self) -> pd.DataFrame:
        """Return columns metric, value, low, high: a row a rate, the CPM, and a row a count."""
        rates = zip(self.fp_per_scan, self.sensitivity, self.low, self.high, strict=True)
        rows: list[tuple[str, float, float, float]] = [
            (f"sensitivity at {rate:g} false positives per scan", value, low, high)
            for rate, value, low, high in rates
        ]
        rows.append(("CPM", self.cpm, self.cpm_low, self.cpm_high))
        rows += [(name, count, np.nan, np.nan) for name, count in self.counts.items()]
        table = pd.DataFrame(rows, columns=["metric", "value", "low", "high"], dtype=object)
        return table.astype({"metric": str, "low": float, "high": float})


def luna16_froc(
    detections: pd.DataFrame,
    annotations: pd.DataFrame,
    excluded: pd.DataFrame | None,
    seriesuids: Iterable[str],
    *,
    max_marks_per_scan: int | None = 100,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Froc:
    """Evaluate the marks of a detector as the LUNA16 challenge does.

    A mark is on a finding if its squared distance to the centre is less than the squared radius; a
    negative diameter stands for 10 mm. Several marks on a nodule are one hit, with the highest
    probability; marks on excluded findings count for nothing; all others are false positives. The
    curve has a point for each distinct probability t, and starts at (0, 0):

        (false positives with p >= t) / scans,   (nodules hit with p >= t) / nodules

    Missed nodules and scans without marks count in the denominators. Sensitivity is interpolated
    linearly at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan; beyond the last point it
    stays. Intervals are percentiles over samples of as many scans, drawn with replacement.

    Where the challenge's program divides by zero, the policy of semilung holds: without any nodule
    sensitivity is NaN, and with none detected it is 0. Bootstrap samples without a nodule are left
    out of the intervals.

    Args:
        detections: Columns `seriesuid`, `coordX`, `coordY`, `coordZ` (mm), `probability` (any
            finite number), one row a mark, in any order. Marks in other scans are dropped, as the
            challenge does, with a warning.
        annotations: Columns `seriesuid`, `coordX`, `coordY`, `coordZ`, `diameter_mm`, one row a
            nodule. Those of other scans do not count, so that one table serves every fold.
        excluded: Findings that are neither nodule nor false positive, as `annotations`; or None.
        seriesuids: All scans that the detector ran on, each once.
        max_marks_per_scan: Where a scan has more marks, those strictly above the probability of the
            first one too many are kept; None for no limit.
        bootstrap: Number of samples; 0 for no intervals.
        seed: Of the samples.

    Raises:
        UserError: A column is missing, a value is not a finite number, a scan is listed twice, or
            none is listed.
        ValueError: `max_marks_per_scan` below 1, or `bootstrap` below 0.
        TypeError: One of the two is no integer.

    Source: Setio et al., Validation, comparison, and combination of algorithms for automatic
    detection of pulmonary nodules in CT: the LUNA16 challenge, Medical Image Analysis 2017; CPM of
    Niemeijer et al., IEEE TMI 2011.

    Example:
        >>> nodules = pd.DataFrame([("a", 0, 0, 0, 6)], columns=list(ANNOTATION_COLUMNS))
        >>> marks = [("a", 1, 0, 0, 0.9), ("b", 0, 0, 0, 0.8)]
        >>> result = luna16_froc(
        ...     pd.DataFrame(marks, columns=list(DETECTION_COLUMNS)), nodules, None, ["a", "b"]
        ... )
        >>> result.cpm, result.counts["False positives"]
        (1.0, 1)
    """
    if max_marks_per_scan is not None and operator.index(max_marks_per_scan) < 1:
        raise ValueError(f"max_marks_per_scan must be at least 1 or None, got {max_marks_per_scan}")
    if operator.index(bootstrap) < 0:
        raise ValueError(f"bootstrap must be at least 0, got {bootstrap}")
    scans = scan_index(seriesuids)
    marks = finding_table(detections, DETECTION_COLUMNS, "detections")
    nodules = finding_table(annotations, ANNOTATION_COLUMNS, "annotations")
    others = pd.DataFrame() if excluded is None else excluded
    others = finding_table(others, ANNOTATION_COLUMNS, "excluded")
    if len(strangers := marks[~marks["seriesuid"].isin(scans)]):
        warnings.warn(
            f"{len(strangers)} of {len(marks)} detections are left out, because their scans are "
            f"not in seriesuids ({strangers['seriesuid'].iloc[0]}, ...)",
            stacklevel=2,
        )
    marks, nodules, others = (_numbered(table, scans) for table in (marks, nodules, others))
    if max_marks_per_scan is not None:
        marks = most_probable(marks, max_marks_per_scan)
    curve = FrocCurve(match_marks(marks, nodules, others, len(scans)))
    sensitivity = curve.sensitivity(np.ones(len(scans), np.intp))
    low, high = _intervals(curve, len(scans), samples=bootstrap, seed=seed)
    return Froc(
        fp_per_scan=np.array(FP_PER_SCAN),
        sensitivity=sensitivity,
        cpm=float(sensitivity.mean()),
        low=low[:-1],
        high=high[:-1],
        cpm_low=float(low[-1]),
        cpm_high=float(high[-1]),
        counts=curve.counts,
    )


def _numbered(table: pd.DataFrame, scans: pd.Index[str]) -> pd.DataFrame:
    """Return the rows of these scans, with the number of the scan as column `scan`."""
    table = table.assign(scan=scans.get_indexer(pd.Index(table["seriesuid"])))
    return table[table["scan"] >= 0].reset_index(drop=True)


class FrocCurve:
    """A FROC curve whose scans may count several times, as in bootstrap samples."""

    def __init__(self, marks: MatchedMarks) -> None:
        descending = np.argsort(-marks.probability, kind="stable")
        self._scan, self._hit = marks.scan[descending], marks.hit[descending]
        changes = np.flatnonzero(np.diff(marks.probability[descending])) + 1
        self._ends = np.concatenate([[0], changes, [len(descending)]])  # of equal probabilities
        self._nodules = marks.nodules
        self.counts = marks.counts

    def sensitivity(
        self, weights: NDArray[np.intp], rates: Sequence[float] | NDArray[np.float64] = FP_PER_SCAN
    ) -> NDArray[np.float64]:
        """Return the sensitivity at rates of false positives.

        Args:
            weights: `(scans,)`, how often each scan counts.
            rates: False positives per scan.
        """
        nodules = int(weights @ self._nodules)
        if nodules == 0:
            return np.full(np.shape(rates), np.nan)
        weight = weights[self._scan]
        hits, marks = (
            np.concatenate([[0], np.cumsum(values)])[self._ends]
            for values in (weight * self._hit, weight)
        )
        false = marks - hits
        # the challenge's order of operations: its rounding decides where a step meets a rate
        rate = false / max(false[-1], 1) * false[-1] / len(weights)
        return np.asarray(np.interp(rates, rate, hits / nodules))


def _intervals(
    curve: FrocCurve, scans: int, *, samples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bounds of the sensitivities and, as last value, of their mean."""
    generator = np.random.default_rng(seed)
    values = np.empty((samples, len(FP_PER_SCAN) + 1))
    for row in values:
        draws = generator.integers(scans, size=scans)
        row[:-1] = curve.sensitivity(np.bincount(draws, minlength=scans))
        row[-1] = row[:-1].mean()
    defined = np.sort(values[~np.isnan(values[:, -1])], axis=0)
    if not len(defined):
        undefined = np.full(values.shape[1], np.nan)
        return undefined, undefined
    tail = (1 - CONFIDENCE) / 2
    low, high = (int(share * len(defined)) for share in (tail, 1 - tail))
    return defined[low], defined[high]
