"""Rows of findings: places in RAS+ mm, diameters, mean ratings, merged marks."""

import numpy as np
import pytest
from lidc_files import SERIES, marked, outlined

from semilung.data.importers.lidc.finding_rows import (
    mark_rows,
    mean_ratings,
    nodule_rows,
    reader_rows,
)
from semilung.data.importers.lidc.reader_consensus import OutlinedReading, findings_of
from semilung.data.importers.lidc.reader_xml import RATINGS
from semilung.data.io.grid import Grid

SHAPE = (20, 16, 5)
GRID = Grid(SHAPE, np.array([[-0.5, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2.0, -30], [0, 0, 0, 1]]))
SLICES = {f"{SERIES}.{k}": k for k in range(5)}


def drawn(reader, columns, **ratings):
    mask = np.zeros(SHAPE, bool)
    mask[columns, 4:8, 1:3] = True
    return OutlinedReading(outlined(reader, ratings=ratings), np.flatnonzero(mask))


READINGS = [
    drawn(1, slice(2, 6), malignancy=5, calcification=6, texture=5),
    drawn(2, slice(2, 6), malignancy=4, calcification=3),
    drawn(4, slice(2, 7), malignancy=4, calcification=6),
    drawn(3, slice(12, 14), malignancy=1),
]
FINDINGS = findings_of(READINGS, GRID, agreement=0.5, min_readers=2)


def test_nodule_rows_state_centre_diameter_and_ratings_of_the_consensus():
    nodule, minority = nodule_rows(FINDINGS, GRID)
    assert (nodule.name, nodule.ignored, nodule.source) == ("1", False, "readers")
    assert nodule.centre_mm == (10 - 0.5 * 3.5, 20 - 0.5 * 5.5, -30 + 2 * 1.5)
    assert nodule.diameter_mm == round((6 / np.pi * 4 * 4 * 2 * 0.5) ** (1 / 3), 2)
    assert nodule.targets == {
        "calcification": "6",
        "texture": "5",
        "malignancy": "4.33",
        "readers": "3",
    }
    assert (minority.name, minority.ignored) == ("2", True)
    assert minority.targets == {"malignancy": "1", "readers": "1"}
    assert minority.diameter_mm == round((6 / np.pi * 2 * 4 * 2 * 0.5) ** (1 / 3), 2)


def test_reader_rows_have_every_readers_ratings():
    rows = reader_rows("c1", FINDINGS, GRID)
    assert [(r["case"], r["nodule"], r["reader"], r["malignancy"]) for r in rows] == [
        ("c1", 1, 1, 5),
        ("c1", 1, 2, 4),
        ("c1", 1, 4, 4),
        ("c1", 2, 3, 1),
    ]
    assert rows[2]["diameter_mm"] > rows[1]["diameter_mm"]
    assert rows[1]["texture"] is None
    assert set(RATINGS) < set(rows[0])


@pytest.mark.parametrize(
    ("values", "mean"), [([6, 6, 3, 2], "6"), ([3, 6], "3"), ([6, 3], "3"), ([2], "2")]
)
def test_mean_ratings_of_categories_is_the_most_frequent_one(values, mean):
    assert mean_ratings([{"calcification": value} for value in values]) == {"calcification": mean}
    ordinal = mean_ratings([{"texture": value - 1} for value in values])["texture"]
    assert float(ordinal) == pytest.approx(np.mean(values) - 1, abs=0.005)


def rows_of(*readings, findings=()):
    return mark_rows(readings, SLICES, GRID, findings)


def test_mark_rows_merge_marks_of_one_kind_that_are_near():
    rows = rows_of(
        marked(1, "small", 0, (4, 4)),
        marked(2, "small", 1, (5, 4)),  # 2.1 mm away
        marked(2, "small", 2, (5, 4)),  # 2 mm further, of the same reader
        marked(3, "small", 0, (14, 4)),  # 5 mm away
        marked(3, "non-nodule", 0, (4, 4)),
    )
    assert [(row.name, row.targets["readers"]) for row in rows] == [
        ("small-1", "2"),
        ("small-2", "1"),
        ("non-nodule-1", "1"),
    ]
    assert rows[0].centre_mm == pytest.approx((10 - 0.5 * 14 / 3, 18, -28), abs=0.005)
    assert all(row.ignored and row.diameter_mm is None for row in rows)


def test_mark_rows_leave_out_marks_on_outlined_findings_and_missing_slices():
    inside, near, far = (marked(1, "non-nodule", 1, xy) for xy in ((3, 5), (10, 5), (19, 15)))
    assert [row.name for row in rows_of(inside, near, far, findings=FINDINGS)] == ["non-nodule-1"]
    assert rows_of(far, findings=FINDINGS)[0].centre_mm == (0.5, 12.5, -28.0)
    assert len(rows_of(inside, near, far)) == 3
    assert rows_of(marked(1, "small", 9, (3, 5))) == []
