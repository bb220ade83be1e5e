"""Operating points of a detector, by hand."""

import numpy as np
import pandas as pd
import pytest

from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.detection_points import false_positive_counts, operating_points

CASES = pd.DataFrame(
    {"case": ["a", "b", "i", "g", "h"], "role": ["labelled"] * 3 + ["healthy"] * 2}
)
LESIONS = pd.DataFrame(
    [("a", "1", 0.9), ("a", "2", 0.6), ("b", "1", 0.4), ("b", "2", np.nan), ("b", np.nan, np.nan)],
    columns=["case", "nodule", "probability"],
)
FINDINGS = pd.DataFrame(
    [("a", 0.9, False), ("a", 0.6, False), ("b", 0.4, False), ("b", 0.95, True), ("a", 0.5, True),
     ("g", 0.6, True), ("g", 0.59, True), ("g", 0.4, True), ("h", 0.3, True), ("i", 0.99, True)],
    columns=["case", "probability", "false"],
)  # fmt: skip


def test_operating_points_by_hand():
    # four nodules; i has only an ignored finding, so it is neither with nodules nor healthy
    table = operating_points(Report(CASES, LESIONS, findings=FINDINGS)).set_index("target")
    assert table["threshold"].tolist() == pytest.approx([0.6, 0.4, np.nan, np.nan], nan_ok=True)
    assert table["sensitivity"].tolist() == pytest.approx([0.5, 0.75, np.nan, np.nan], nan_ok=True)
    assert table["fp_positive"].tolist() == pytest.approx([0.5, 1.0, np.nan, np.nan], nan_ok=True)
    assert table["fp_healthy"].tolist() == pytest.approx([0.5, 1.5, np.nan, np.nan], nan_ok=True)
    assert table[["n_nodules", "n_positive", "n_healthy"]].values.tolist() == [[4, 2, 2]] * 4


def test_operating_points_without_healthy_scans_or_nodules_are_undefined():
    points = operating_points(Report(CASES[:3], LESIONS, findings=FINDINGS), [0.5])
    assert points["fp_positive"].tolist() == [0.5]
    assert points["fp_healthy"].isna().all()
    none = operating_points(Report(CASES[3:], LESIONS[:0], findings=FINDINGS), [0.5])
    assert none[["threshold", "sensitivity", "fp_positive", "fp_healthy"]].isna().all(axis=None)


def test_false_positive_counts_include_the_threshold_and_cases_without_any():
    counts = false_positive_counts(CASES, FINDINGS, 0.59)
    assert counts.tolist() == [0, 1, 1, 2, 0]
    assert false_positive_counts(CASES, FINDINGS, np.nan).isna().all()
