"""Which readings are of one nodule, and what the readers agree on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lidc_files import outlined
from lidc_reference import located_readings

from semilung.data.importers.lidc.outlines import voxels_of
from semilung.data.importers.lidc.reader_consensus import OutlinedReading, findings_of
from semilung.data.io.grid import Grid

SHAPE = (20, 16, 5)
GRID = Grid(SHAPE, np.diag([0.5, 0.5, 0.5, 1]))


def drawn(reader, *boxes):
    """Return a reading whose voxels are boxes of `SHAPE`, each a tuple of slices."""
    mask = np.zeros(SHAPE, bool)
    for box in boxes:
        mask[box] = True
    return OutlinedReading(outlined(reader), np.flatnonzero(mask))


def box(x, y=(2, 6), z=(1, 3)):
    return (slice(*x), slice(*y), slice(*z))


def findings(readings, *, agreement=0.5, min_readers=2):
    return findings_of(readings, GRID, agreement=agreement, min_readers=min_readers)


def places(voxels):
    mask = np.zeros(SHAPE, bool)
    mask.reshape(-1)[voxels] = True
    return mask


def test_findings_of_overlapping_readings_are_one_nodule_each():
    first = [drawn(1, box((2, 6))), drawn(2, box((4, 8))), drawn(4, box((7, 9)))]
    second = [drawn(1, box((9, 12))), drawn(3, box((10, 13)))]
    groups = findings([*second, *first])
    readers = [sorted(one.reading.reader for one in g.readings) for g in groups]
    assert readers == [[1, 2, 4], [1, 3]]


@pytest.mark.parametrize("other", [box((6, 9)), box((2, 6), (6, 9)), box((2, 6), z=(3, 4))])
def test_findings_of_touching_readings_are_apart(other):
    assert len(findings([drawn(1, box((2, 6))), drawn(2, other)], min_readers=1)) == 2


def test_findings_of_no_readings_are_none():
    assert findings([]) == []


@pytest.mark.parametrize(
    ("agreement", "columns"),
    [
        (0.25, (2, 12)),
        (0.5, (4, 10)),
        (0.51, (5, 9)),
        (0.75, (5, 9)),
        (1.0, (6, 8)),
    ],
)
def test_findings_of_four_readers_agree_on_the_share_that_is_asked(agreement, columns):
    spans = [(2, 8), (4, 10), (5, 12), (6, 9)]
    readings = [drawn(r, box(span)) for r, span in enumerate(spans, start=1)]
    votes = sum(places(one.voxels).astype(int) for one in readings)
    (finding,) = findings(readings, agreement=agreement)
    np.testing.assert_array_equal(places(finding.agreed), votes >= agreement * 4)
    assert {int(x) for x in np.argwhere(places(finding.agreed))[:, 0]} == set(range(*columns))
    assert finding.disputed.size == 0


def test_findings_of_two_of_four_readers_agree_among_the_two():
    """As in the published masks: the share is of the readers who outlined the nodule."""
    readings = [drawn(1, box((2, 6))), drawn(3, box((4, 8)))]
    assert findings(readings)[0].agreed.size == findings(readings, agreement=0.1)[0].agreed.size
    np.testing.assert_array_equal(places(findings(readings)[0].agreed)[2:8, 2, 1], True)
    assert findings(readings, agreement=1.0)[0].agreed.size == 2 * 4 * 2


def test_findings_of_too_few_readers_are_disputed():
    lone, both = drawn(1, box((2, 5))), [drawn(1, box((8, 12))), drawn(2, box((8, 13)))]
    certain, minority = findings([lone, *both])
    assert certain.agreed.size
    assert not certain.disputed.size
    assert minority.agreed.size == 0
    np.testing.assert_array_equal(minority.disputed, lone.voxels)
    np.testing.assert_array_equal(minority.voxels, lone.voxels)
    assert all(one.agreed.size for one in findings([lone, *both], min_readers=1))


def test_findings_of_one_reader_who_divided_a_nodule_count_the_reader_once():
    larger, smaller = divided = [drawn(1, box((6, 12))), drawn(1, box((2, 5)))]
    whole = drawn(2, box((2, 12)))
    for order in (divided, divided[::-1]):
        (finding,) = findings([*order, whole], agreement=1.0)
        assert set(finding.by_reader) == {1, 2}
        assert finding.by_reader[1] is larger
        np.testing.assert_array_equal(finding.agreed, larger.voxels)
        np.testing.assert_array_equal(finding.disputed, smaller.voxels)
    assert findings(divided)[0].agreed.size == 0


def test_findings_of_one_reader_who_outlined_a_place_twice_have_one_vote_there():
    twice = [drawn(1, box((2, 8))), drawn(1, box((4, 8)))]
    (finding,) = findings([*twice, drawn(2, box((6, 10)))], agreement=1.0)
    np.testing.assert_array_equal(finding.agreed, drawn(1, box((6, 8))).voxels)


def test_findings_of_two_nodules_that_one_reader_outlined_as_one_are_two():
    left, right = (box((1, 8), (2, 12), (0, 5)), box((12, 19), (2, 12), (0, 5)))
    joined = drawn(3, box((1, 19), (2, 12), (0, 5)))
    lone = [drawn(1, left), drawn(1, right), drawn(2, left)]
    first, second = findings([*lone, joined])
    np.testing.assert_array_equal(first.agreed, lone[0].voxels)
    np.testing.assert_array_equal(second.agreed, lone[1].voxels)
    assert (set(first.by_reader), set(second.by_reader)) == ({1, 2, 3}, {1, 3})
    assert first.disputed.size == second.disputed.size == 0
    nodule, minority = findings([*lone, joined], min_readers=3)
    np.testing.assert_array_equal(nodule.agreed, lone[0].voxels)
    assert minority.agreed.size == 0
    np.testing.assert_array_equal(minority.disputed, lone[1].voxels)


def test_findings_of_readers_who_share_but_a_fragment_count_for_the_nodule():
    readings = [drawn(1, box((2, 6))), drawn(2, box((4, 8))), drawn(4, box((7, 9)))]
    (finding,) = findings(readings)
    assert set(finding.by_reader) == {1, 2, 4}
    np.testing.assert_array_equal(finding.agreed, drawn(0, box((4, 6))).voxels)
    np.testing.assert_array_equal(finding.disputed, drawn(0, box((7, 8))).voxels)


def test_findings_without_a_voxel_that_enough_readers_have_are_disputed():
    readings = [drawn(1, box((2, 6))), drawn(2, box((5, 9))), drawn(3, box((8, 12)))]
    (finding,) = findings(readings, agreement=1.0)
    assert finding.agreed.size == 0
    assert places(finding.disputed)[2:12, 2:6, 1:3].all()


def test_findings_regions_that_touch_by_a_corner_are_connected():
    corner = [box((2, 4), (2, 4), (1, 2)), box((4, 6), (4, 6), (2, 3))]
    (finding,) = findings([drawn(1, *corner), drawn(2, *corner)])
    assert finding.disputed.size == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), *[st.integers(0, n - 2) for n in SHAPE], st.integers(1, 6)),
        max_size=12,
    ),
    st.floats(0.01, 1),
    st.integers(1, 4),
    st.randoms(),
)
def test_findings_any_readings_make_disjoint_findings_in_any_order(
    boxes, agreement, min_readers, random
):
    readings = [
        drawn(r, (slice(x, x + n), slice(y, y + n), slice(z, z + n))) for r, x, y, z, n in boxes
    ]
    options = {"agreement": agreement, "min_readers": min_readers}
    result = findings(readings, **options)
    assert {id(one) for f in result for one in f.readings} == set(map(id, readings))
    every = [v for f in result for v in (*f.agreed.tolist(), *f.disputed.tolist())]
    assert len(every) == len(set(every))
    outlined_by = sum((places(one.voxels) for one in readings), np.zeros(SHAPE, bool))
    assert outlined_by.reshape(-1)[every].all()
    shuffled = readings.copy()
    random.shuffle(shuffled)
    for one, other in zip(result, findings(shuffled, **options), strict=True):
        np.testing.assert_array_equal(one.agreed, other.agreed)
        np.testing.assert_array_equal(one.disputed, other.disputed)


def test_findings_of_a_real_scan_are_the_nodules_of_the_reference(real_data):
    """The reference has the consensus of half of each nodule's readers, lone readers included."""
    located = located_readings(real_data)
    shape = located.nodules.shape
    grid = Grid(shape, np.diag([-0.537109375, -0.537109375, 3, 1]))
    voxels = [(one, voxels_of(one, located.slices, shape)) for one in located.readings]
    readings = [OutlinedReading(one, inside) for one, inside in voxels if inside.size]
    result = findings_of(readings, grid, agreement=0.5, min_readers=1)
    nodules = [one for one in result if one.agreed.size]
    mask = np.zeros(shape, np.uint8)
    for number, one in enumerate(nodules, start=1):
        mask.reshape(-1)[one.agreed] = number
    np.testing.assert_array_equal(mask > 0, located.nodules > 0)
    marked = mask > 0
    pairs = set(zip(mask[marked].tolist(), located.nodules[marked].tolist(), strict=True))
    assert len(pairs) == len(nodules) == 6
    assert sorted(len(one.by_reader) for one in nodules) == [1, 1, 1, 2, 3, 4]
