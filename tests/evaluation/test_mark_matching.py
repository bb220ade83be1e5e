"""Hits, false positives and marks that count for nothing: a case by hand for each rule."""

import pytest
from finding_rows import NODULE, counted, findings, froc, marks


@pytest.mark.parametrize(
    ("centre", "counts"),
    [
        ((3, 0, 0), (0, 1, 1, 0, 0)),  # exactly the radius away: no hit
        ((0, 0, 2.999), (1, 0, 0, 0, 0)),
        ((1.8, 1.8, 1.8), (0, 1, 1, 0, 0)),  # 3.1 mm away, though each axis is within 3
        ((-1.7, 1.7, -1.7), (1, 0, 0, 0, 0)),
    ],
)
def test_luna16_froc_hits_are_strictly_within_the_radius(centre, counts):
    assert counted(froc(marks(("a", *centre, 0.5)), findings(NODULE))) == counts


def test_luna16_froc_a_mark_in_another_scan_is_no_hit():
    assert counted(froc(marks(("b", 0, 0, 0, 0.5)), findings(NODULE))) == (0, 1, 1, 0, 0)


@pytest.mark.parametrize("diameter", [-1, -0.5])
def test_luna16_froc_negative_diameter_is_10_mm(diameter):
    within, outside = ("a", 4.99, 0, 0, 0.5), ("a", 5, 0, 0, 0.4)
    others = findings(("a", 0, 0, 0, diameter))
    assert counted(froc(marks(within, outside), findings(), others)) == (0, 1, 0, 1, 0)
    assert counted(froc(marks(within, outside), others)) == (1, 1, 0, 0, 0)


def test_luna16_froc_several_marks_on_a_nodule_are_one_hit_with_the_highest_probability():
    # the false positive at 0.5 is above the lowest and below the highest mark
    detections = marks(
        ("a", 0, 0, 0, 0.4), ("a", 1, 0, 0, 0.6), ("a", 0, 1, 0, 0.3), ("b", *[0.5] * 4)
    )
    result = froc(detections, findings(NODULE))
    assert counted(result) == (1, 1, 0, 0, 2)
    assert result.sensitivity[0] == 1
    lower = detections.assign(probability=[0.4, 0.45, 0.3, 0.5])
    assert froc(lower, findings(NODULE)).sensitivity[0] == 0


def test_luna16_froc_a_mark_on_two_nodules_hits_both():
    pair = findings(NODULE, ("a", 2, 0, 0, 6))
    assert counted(froc(marks(("a", 1, 0, 0, 0.5)), pair)) == (2, 0, 0, 0, 0)


def test_luna16_froc_marks_on_excluded_findings_count_for_nothing():
    others = findings(("a", 50, 0, 0, 6), ("a", 51, 0, 0, 6))  # overlapping: one mark, not two
    detections = marks(("a", 0, 0, 0, 0.5), ("a", 50.5, 0, 0, 0.9), ("a", 60, 0, 0, 0.8))
    result = froc(detections, findings(NODULE), others)
    assert counted(result) == (1, 1, 0, 1, 0)
    assert counted(froc(detections, findings(NODULE))) == (1, 2, 0, 0, 0)
    # one false positive in two scans precedes the hit: the step is at 1/2, with two at 1
    assert result.sensitivity.tolist() == [0, 0, *[1] * 5]


def test_luna16_froc_a_mark_on_a_nodule_and_an_excluded_finding_is_a_hit():
    result = froc(marks(("a", 0, 0, 0, 0.5)), findings(NODULE), findings(("a", 1, 0, 0, 6)))
    assert counted(result) == (1, 0, 0, 0, 0)


def test_luna16_froc_keeps_marks_strictly_above_the_first_one_too_many():
    probabilities = [0.9, 0.8, 0.7, 0.7, 0.7, 0.1]  # the third and fourth tie
    detections = marks(
        *(("a", 90, 0, i, p) for i, p in enumerate(probabilities)), ("b", *[0.0] * 4)
    )
    for limit, candidates in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 5), (6, 6), (100, 6), (None, 6)):
        result = froc(detections, findings(), max_marks_per_scan=limit)
        assert result.counts["Total number of candidates"] == candidates + 1


def test_luna16_froc_keeps_100_marks_a_scan_by_default():
    def candidates(n):
        detections = marks(*(("a", 0, 0, i, i) for i in range(n)))
        return froc(detections, findings(("a", 0, 0, 0, 2))).counts["Total number of candidates"]

    assert [candidates(n) for n in (99, 100, 101, 150)] == [99, 100, 100, 100]
