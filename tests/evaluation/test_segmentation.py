from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semilung.evaluation import SIZE_BINS_MM, dice, hd95_mm, lesions, surface_dice

SPACING_MM = (1.0, 1.0, 2.5)
masks = arrays(np.uint8, (5, 4, 3), elements=st.integers(0, 1))
filled = masks.filter(lambda mask: bool(mask.any()))


def empty(*shape: int) -> np.ndarray:
    return np.zeros(shape or (9, 9, 9), np.uint8)


def voxels(*indices: tuple[int, int, int]) -> np.ndarray:
    mask = empty()
    for index in indices:
        mask[index] = 1
    return mask


def box(start: tuple[int, int, int], size: tuple[int, int, int]) -> np.ndarray:
    mask = empty(20, 20, 20)
    mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = 1
    return mask


def test_dice_of_a_cube_shifted_by_one_of_its_four_voxels():
    # Two cubes of 64 voxels share 3 * 4 * 4 = 48.
    assert dice(box((4, 4, 4), (4, 4, 4)), box((5, 4, 4), (4, 4, 4))) == pytest.approx(48 / 64)


def test_hd95_of_two_voxels_is_the_distance_of_their_centres():
    a, b = voxels((2, 2, 2)), voxels((4, 2, 2))
    assert hd95_mm(a, b, (1, 1, 1)) == pytest.approx(2)
    assert hd95_mm(a, b, (0.7, 1, 1)) == pytest.approx(1.4)
    assert hd95_mm(a, voxels((2, 3, 4)), (1, 3, 2)) == pytest.approx(5)  # 3, 4, 5


def test_hd95_of_two_sheets_is_their_gap_along_the_coarse_axis():
    a, b = box((0, 0, 3), (20, 20, 1)), box((0, 0, 7), (20, 20, 1))
    assert hd95_mm(a, b, SPACING_MM) == pytest.approx(4 * 2.5)


def test_hd95_ignores_the_farthest_twentieth_of_the_surface():
    # A sheet of 400 voxels with one far voxel: 1 of 401 is beyond the 95th percentile.
    sheet = box((0, 0, 3), (20, 20, 1))
    spotted = sheet | box((9, 9, 15), (1, 1, 1))
    assert hd95_mm(spotted, sheet, (1, 1, 1)) == 0
    # Of a strip of 8 voxels it is 1 of 9: the quantile 0.95 lies at index 7.6 of the sorted
    # distances 0, ..., 0, 12, so at 0.6 * 12.
    strip = box((5, 5, 3), (8, 1, 1))
    spotted = strip | box((5, 5, 15), (1, 1, 1))
    assert hd95_mm(spotted, strip, (1, 1, 1)) == pytest.approx(0.6 * 12)


def test_hd95_is_the_larger_direction():
    small, large = box((9, 9, 9), (1, 1, 1)), box((9, 9, 9), (11, 1, 1))
    # From the large to the small, distances run 0, 1, ..., 10: their 0.95 quantile is 9.5.
    assert hd95_mm(small, large, (1, 1, 1)) == pytest.approx(9.5)
    assert hd95_mm(large, small, (1, 1, 1)) == pytest.approx(9.5)


def test_surface_dice_of_a_shifted_voxel_by_its_corners():
    # The 8 corners of a voxel weigh alike. Shifted by 2 along x, half of them are one step from
    # the other voxel's nearest corner and half two steps.
    a, b = voxels((2, 2, 2)), voxels((4, 2, 2))
    for step_mm in (1.0, 2.5):
        expected = {0.99: 0.0, 1.0: 0.5, 1.99: 0.5, 2.0: 1.0}
        for steps, share in expected.items():
            results = surface_dice(a, b, (step_mm, 1, 1), steps * step_mm)
            assert results == pytest.approx(share), (step_mm, steps)


def test_surface_dice_weights_by_area_in_mm():
    # A slab 14 x 14 x 2 mm against one thicker by 1 mm at its top, tolerance 0.9 mm. The sides
    # below agree; the top, nearly half the surface, is off in both.
    reference = box((3, 3, 8), (14, 14, 2))
    thicker = box((3, 3, 8), (14, 14, 3))
    ends, sides = 14 * 14, 4 * 14 * 2
    expected = 1 - ends / (2 * ends + sides)
    assert surface_dice(thicker, reference, (1, 1, 1), 0.9) == pytest.approx(expected, abs=0.05)
    # With rows ten times as high the sides rule, and only their upper tenths disagree.
    tall = surface_dice(box((3, 3, 4), (14, 14, 10)), box((3, 3, 4), (14, 14, 11)), (1, 1, 10), 0.9)
    ends, sides = 14 * 14, 4 * 14 * 100
    assert tall == pytest.approx(1 - (2 * ends + 4 * 14 * 10) / (4 * ends + 2 * sides), abs=0.05)


def test_hd95_edge_of_the_volume_is_a_surface():
    corner, opposite = empty(3, 3, 3), empty(3, 3, 3)
    corner[0, 0, 0] = opposite[2, 0, 0] = 1
    assert hd95_mm(corner, opposite, (1, 1, 1)) == 2
    assert surface_dice(corner, opposite, (1, 1, 1), 1.0) == 0.5


def test_metrics_of_empty_masks_follow_the_policy():
    something, nothing = voxels((4, 4, 4)), empty()
    for prediction in (something, nothing):
        assert math.isnan(dice(prediction, nothing))
        assert math.isnan(surface_dice(prediction, nothing, SPACING_MM, 2))
        assert math.isnan(hd95_mm(prediction, nothing, SPACING_MM))
    assert dice(nothing, something) == 0
    assert surface_dice(nothing, something, SPACING_MM, 2) == 0
    assert math.isnan(hd95_mm(nothing, something, SPACING_MM))


def test_metrics_ignored_voxels_are_excluded():
    reference, prediction = voxels((2, 2, 2)), voxels((2, 2, 2), (6, 6, 6), (6, 6, 7))
    reference[6, 6, 6:8] = 255
    assert dice(prediction, reference) == 1
    assert hd95_mm(prediction, reference, SPACING_MM) == 0
    assert surface_dice(prediction, reference, SPACING_MM, 0) == 1
    assert math.isnan(dice(prediction, np.where(reference == 1, 0, reference)))


@pytest.mark.parametrize("metric", [dice, lambda p, r: hd95_mm(p, r, SPACING_MM)])
def test_metrics_of_unequal_shapes_are_an_error(metric):
    with pytest.raises(ValueError, match="shape"):
        metric(empty(3, 3, 3), empty(3, 3, 1))


@given(filled, filled)
@settings(max_examples=40, deadline=None)
def test_metrics_are_symmetric_in_range_and_invariant_to_mirroring(a, b):
    for metric, best, limit in (
        (dice, 1, 1),
        (lambda p, r: surface_dice(p, r, SPACING_MM, 1), 1, 1),
        (lambda p, r: hd95_mm(p, r, SPACING_MM), 0, math.inf),
    ):
        value = metric(a, b)
        assert 0 <= value <= limit
        assert metric(a, a) == best
        assert metric(b, a) == pytest.approx(value)
        assert metric(a[::-1, :, ::-1], b[::-1, :, ::-1]) == pytest.approx(value, abs=1e-5)


@given(filled, filled)
@settings(max_examples=25, deadline=None)
def test_metrics_follow_their_axes(a, b):
    turned_a, turned_b, turned_mm = a.transpose(2, 0, 1), b.transpose(2, 0, 1), (2.5, 1.0, 1.0)
    assert dice(turned_a, turned_b) == dice(a, b)
    assert hd95_mm(turned_a, turned_b, turned_mm) == pytest.approx(hd95_mm(a, b, SPACING_MM))
    turned = surface_dice(turned_a, turned_b, turned_mm, 1.5)
    assert turned == pytest.approx(surface_dice(a, b, SPACING_MM, 1.5), abs=1e-5)


def two_lesions() -> np.ndarray:
    return 3 * box((2, 2, 2), (3, 3, 3)) + 7 * box((12, 12, 12), (2, 2, 2))


def test_lesions_returns_one_result_per_reference_lesion():
    results = lesions(box((2, 2, 2), (3, 3, 3)), two_lesions(), (1, 1, 2))
    assert [lesion.instance for lesion in results] == [3, 7]
    assert [lesion.volume_mm3 for lesion in results] == [54, 16]
    assert [lesion.detected for lesion in results] == [True, False]
    assert [lesion.dice for lesion in results] == [1, 0]
    assert results[0].diameter_mm == pytest.approx((6 * 54 / math.pi) ** (1 / 3))


def test_lesions_components_on_one_lesion_are_merged():
    # 9 + 9 of 27 voxels in two components of which one runs 9 voxels too far.
    prediction = box((2, 2, 2), (1, 3, 3)) | box((4, 2, 2), (2, 3, 3))
    lesion = lesions(prediction, two_lesions(), (1, 1, 1))[0]
    assert lesion.iou == pytest.approx(18 / 36)
    assert lesion.dice == pytest.approx(2 * 18 / (27 + 27))


def test_lesions_component_over_two_lesions_penalises_neither():
    reference = 1 * box((2, 2, 2), (2, 2, 2)) + 2 * box((4, 2, 2), (2, 2, 2))
    results = lesions(box((2, 2, 2), (4, 2, 2)), reference, (1, 1, 1))
    assert [lesion.dice for lesion in results] == [1, 1]


def test_lesions_detection_needs_an_iou_of_a_tenth():
    lesion = box((2, 2, 2), (1, 1, 1))
    assert lesions(box((2, 2, 2), (10, 1, 1)), lesion, (1, 1, 1))[0].detected
    assert not lesions(box((2, 2, 2), (11, 1, 1)), lesion, (1, 1, 1))[0].detected


def test_lesions_component_filling_the_volume_detects_nothing():
    assert not any(x.detected for x in lesions(np.ones((20, 20, 20)), two_lesions(), (1, 1, 1)))


def test_lesions_ignored_voxels_do_not_change_overlap():
    reference = two_lesions()
    reference[5:9, 2:5, 2:5] = 255
    lesion = lesions(box((2, 2, 2), (7, 3, 3)), reference, (1, 1, 1))[0]
    assert lesion.dice == 1
    # One slice farther the component reaches known background: 9 voxels too many.
    lesion = lesions(box((2, 2, 2), (8, 3, 3)), reference, (1, 1, 1))[0]
    assert lesion.iou == pytest.approx(27 / 36)


def test_lesions_reference_without_background_is_scored():
    lesion = lesions(np.ones((3, 3, 3)), np.full((3, 3, 3), 4, np.uint8), (1, 1, 1))[0]
    assert (lesion.instance, lesion.iou) == (4, 1)


def test_lesions_diameter_of_a_ball_is_its_own():
    axes = np.ogrid[-14:15, -14:15, -14:15]
    ball = (sum(axis**2 for axis in axes) <= 12**2).astype(np.uint8)
    assert lesions(ball, ball, (0.5, 0.5, 0.5))[0].diameter_mm == pytest.approx(12, rel=0.01)


@given(masks, arrays(np.uint8, (5, 4, 3), elements=st.sampled_from([0, 0, 0, 1, 2, 255])))
@settings(max_examples=60, deadline=None)
def test_lesions_equal_their_definition(prediction, reference):
    from scipy.ndimage import label

    components, _ = label(prediction, np.ones((3, 3, 3)))
    for lesion in lesions(prediction, reference, SPACING_MM):
        truth = reference == lesion.instance
        touching = np.isin(components, np.setdiff1d(components[truth], 0))
        union = touching & (truth | (reference == 0))
        assert lesion.dice == pytest.approx(2 * (union & truth).sum() / (union.sum() + truth.sum()))
        assert lesion.iou == pytest.approx((union & truth).sum() / (union | truth).sum())


def test_size_bins_cover_every_diameter_once():
    edges = [edge for interval in SIZE_BINS_MM for edge in interval]
    assert edges[0] == 0
    assert edges[-1] == math.inf
    assert edges[1:-1:2] == edges[2:-1:2]
