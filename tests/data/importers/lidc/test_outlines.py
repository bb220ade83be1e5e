"""Which voxels an outline encloses."""

from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lidc_files import SERIES, SHAPE, marked, outlined, square
from lidc_reference import located_readings

from semilung.data.importers.lidc.outlines import present, voxels_of
from semilung.data.importers.lidc.reader_xml import read_readings
from semilung.data.importers.polygon import enclosed_pixels

SLICES = {f"{SERIES}.{k}": k for k in range(SHAPE[2])}


def mask_of(reading):
    mask = np.zeros(SHAPE, bool)
    mask.reshape(-1)[voxels_of(reading, SLICES, SHAPE)] = True
    return mask


def shoelace(points):
    x, y = points.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_enclosed_pixels_of_a_square_are_those_inside_its_outline():
    inner = {(x, y) for x in range(3, 8) for y in range(5, 7)}
    points = square((2, 4), (8, 7))
    corners = np.array([(2, 4), (8, 4), (8, 7), (2, 7)])
    for variant in (points, points[::-1], np.vstack([points, points[:1]]), corners):
        assert {tuple(p) for p in enclosed_pixels(variant)[0].tolist()} == inner


@pytest.mark.parametrize(
    "points",
    [[[3, 3]], [[3, 3], [4, 3]], [[3, 3], [4, 3], [4, 4]], [[1, 1], [9, 1]], [[1, 1], [1, 1]]],
)
def test_enclosed_pixels_of_points_lines_and_slivers_are_none(points):
    assert enclosed_pixels(np.array(points))[0].shape == (0, 2)


def test_enclosed_pixels_of_a_ring_leave_its_middle_out():
    """An outline that runs round a middle and comes back inside encloses the ring alone."""
    points = [(0, 0), (10, 0), (10, 10), (0, 10), (0, 1), (3, 3), (3, 7), (7, 7), (7, 3), (3, 3)]
    inner = {tuple(p) for p in enclosed_pixels(np.array([*points, (0, 1)]))[0].tolist()}
    assert (5, 5) not in inner
    assert {(5, 1), (9, 5), (5, 9), (1, 5)} <= inner


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(2, 12)), min_size=8, max_size=16), st.integers(1, 40))
def test_enclosed_pixels_of_star_shapes_satisfy_picks_theorem(radii, turn):
    """Pick: area = inner pixels + half of those on the outline - 1, for a simple polygon."""
    angles = (np.arange(len(radii)) + turn / 41) * 2 * np.pi / len(radii)
    spokes = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array(radii) * 4
    points = np.rint(spokes).astype(int) + 60
    steps = np.abs(np.diff(np.vstack([points, points[:1]]), axis=0))
    on_outline = np.gcd(*steps.T).sum()
    assert len(enclosed_pixels(points)[0]) == shoelace(points) - on_outline / 2 + 1


def test_voxels_of_a_hole_are_removed_and_its_outline_is_nodule():
    reading = outlined(1, (1, square((2, 2), (12, 12))), (1, square((5, 5), (8, 8)), False))
    expected = np.zeros(SHAPE, bool)
    expected[3:12, 3:12, 1] = True
    expected[6:8, 6:8, 1] = False
    np.testing.assert_array_equal(mask_of(reading), expected)


def test_voxels_of_a_hole_on_another_slice_stay():
    whole = outlined(1, (1, square((2, 2), (12, 12))))
    other = outlined(1, (1, square((2, 2), (12, 12))), (2, square((5, 5), (8, 8)), False))
    np.testing.assert_array_equal(mask_of(other), mask_of(whole))


def test_voxels_of_two_outlines_are_their_union_columns_first():
    reading = outlined(1, (0, square((1, 2), (4, 5))), (0, square((10, 2), (13, 5))))
    mask = mask_of(reading)
    assert mask[2:4, 3:5, 0].all()
    assert mask[11:13, 3:5, 0].all()
    assert mask.sum() == 8


def test_voxels_of_missing_slices_are_left_out():
    reading = outlined(1, (0, square((1, 2), (4, 5))), (99, square((1, 2), (4, 5))))
    assert mask_of(reading).sum() == 4
    assert len(present(reading, SLICES)) == 1
    assert voxels_of(marked(1, "small", 99, (1, 1)), SLICES, SHAPE).size == 0


def test_voxels_of_an_outline_outside_of_the_slice_is_an_error():
    with pytest.raises(ValueError, match=r"outside of its slice of 20 x 16 pixels"):
        mask_of(outlined(1, (0, square((1, 2), (4, 16)))))
    with pytest.raises(ValueError, match="outside"):
        mask_of(outlined(1, (0, np.array([[0, 0], [65535, 65535], [0, 65535]]))))


def test_outlines_of_a_real_nodule_have_the_expected_area_and_voxels(real_data):
    """Golden values of an independent parser: points, polygon area, volume of one nodule."""
    folder = real_data / "lidc_dicom"
    golden = pd.read_csv(folder / "expected_contours.csv")
    scan = read_readings(folder / "LIDC-IDRI-0003_dev/072.xml")
    matched = 0
    for row in golden.itertuples():
        reader = row.reading_session + 1
        nodules = [r for r in scan.readings if r.kind == "nodule" and r.reader == reader]
        (nodule,) = [
            n for n in nodules if sum(len(o.points) for o in n.outlines) == row.edge_points
        ]
        assert len(nodule.outlines) == row.rois_total
        area = sum(shoelace(o.points) for o in nodule.outlines)
        assert area == row.polygon_area_px
        assert area * 0.820312**2 * 2.5 == pytest.approx(row.polygon_volume_mm3, abs=0.06)
        pixels = on_outline = 0
        for outline in nodule.outlines:  # closed: the last point is the first
            steps = np.abs(np.diff(outline.points, axis=0))
            on_outline += np.gcd(*steps.T).sum()
            pixels += len(enclosed_pixels(outline.points)[0])
        # Pick's theorem, for an outline that does not touch itself
        assert pixels == area - on_outline / 2 + len(nodule.outlines)
        matched += 1
    assert matched == 4


def test_votes_of_a_real_scan_are_those_of_the_reference_in_every_voxel(real_data):
    located = located_readings(real_data)
    readers = defaultdict(list)
    for one in located.readings:
        readers[one.reader].append(voxels_of(one, located.slices, located.votes.shape))
    votes = np.zeros_like(located.votes)
    for voxels in readers.values():
        votes.reshape(-1)[np.unique(np.concatenate(voxels))] += 1
    assert np.bincount(votes.ravel()).tolist()[1:] == [1389, 568, 466, 2679]
    np.testing.assert_array_equal(votes, located.votes)
