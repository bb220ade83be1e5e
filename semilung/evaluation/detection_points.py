"""Operating points of a detector: thresholds by sensitivity, with the false positives at each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.froc_shares import threshold_at_sensitivity

SENSITIVITIES = (0.5, 0.7, 0.8, 0.9)
"""Shares of nodules at which a detector may be operated."""


def operating_points(
    report: Report, sensitivities: Sequence[float] = SENSITIVITIES
) -> pd.DataFrame:
    """Return the thresholds that reach given sensitivities, and the false positives at each.

    Args:
        report: `case` and `role` of all cases, the rows of `lesions.csv` and of `findings.csv`.
        sensitivities: Shares of the nodules, in (0, 1].

    Returns:
        A row for each: `target` as given, `threshold` (the largest probability that detects as many
        nodules), `sensitivity` there, and false positives per scan in `fp_positive` (scans with
        nodules) and `fp_healthy`. NaN where no threshold reaches the target, or there is no such
        scan. `n_nodules`, `n_positive` and `n_healthy` are counts.

    Example:
        >>> cases = pd.DataFrame({"case": [*"ah"], "role": ["labelled", "healthy"]})
        >>> lesions = pd.DataFrame({"case": ["a"], "nodule": ["1"], "probability": [0.4]})
        >>> findings = pd.DataFrame({"case": [*"hh"], "probability": [0.4, 0.3], "false": True})
        >>> points = operating_points(Report(cases, lesions, findings=findings), [0.5])
        >>> points[["threshold", "fp_positive", "fp_healthy"]].values.tolist()
        [[0.4, 0.0, 1.0]]
    """
    nodules = nodule_rows(report.lesions)
    scores = nodules["probability"].to_numpy(float)
    positive = report.cases["case"].isin(nodules["case"])
    healthy = report.cases["role"] == "healthy"
    rows = []
    for target in sensitivities:
        threshold = threshold_at_sensitivity(scores, target)
        counts = false_positive_counts(report.cases, report.findings, threshold)
        rows.append(
            {
                "target": target,
                "threshold": threshold,
                "sensitivity": np.nan if np.isnan(threshold) else (scores >= threshold).mean(),
                "fp_positive": counts[positive].mean(),
                "fp_healthy": counts[healthy].mean(),
                "n_nodules": len(scores),
                "n_positive": int(positive.sum()),
                "n_healthy": int(healthy.sum()),
            }
        )
    return pd.DataFrame(rows)


def false_positive_counts(
    cases: pd.DataFrame, findings: pd.DataFrame, threshold: float
) -> pd.Series[float]:
    """Return the false positives of each case from a threshold on; NaN for a threshold of NaN.

    Args:
        cases: `case`, each once.
        findings: `case`, `probability` and `false` of each finding.
        threshold: Least probability.
    """
    if np.isnan(threshold):
        return pd.Series(np.nan, index=cases.index)
    false = findings[findings["false"].astype(bool) & (findings["probability"] >= threshold)]
    return cases["case"].map(false.groupby("case").size()).fillna(0).astype(float)


def nodule_rows(lesions: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that are of nodules, and not of another task's lesions alone."""
    return lesions[lesions["nodule"].notna()]
