"""Pixels inside of polygons and on them."""

import numpy as np
import pytest

from semilung.data.importers.polygon import enclosed_pixels


def both(points, shape=None):
    inside, outline = enclosed_pixels(np.array(points), shape)
    return {tuple(p) for p in inside.tolist()}, {tuple(p) for p in outline.tolist()}


def test_enclosed_pixels_between_centres_are_those_whose_centre_is_inside():
    inside, outline = both([(0.5, 1.5), (3.5, 1.5), (3.5, 3.2), (0.5, 3.2)])
    assert inside == {(x, y) for x in (1, 2, 3) for y in (2, 3)}
    assert outline == set()


def test_enclosed_pixels_of_a_triangle_on_centres_by_hand():
    inside, outline = both([(0, 0), (4, 0), (0, 4)])
    assert inside == {(1, 1), (1, 2), (2, 1)}
    assert outline == {*((k, 0) for k in range(5)), *((0, k) for k in range(5)),
                       (1, 3), (2, 2), (3, 1)}  # fmt: skip


@pytest.mark.parametrize(("off", "is_on"), [(4e-4, True), (5e-3, False)])
def test_enclosed_pixels_rounded_coordinates_are_on_the_outline(off, is_on):
    _, outline = both([(0 + off, 0.5), (0 + off, 2.5), (-3, 1.5)])
    assert ((0, 1) in outline) == is_on


def test_enclosed_pixels_of_a_keyhole_leave_the_hole_out():
    points = [(0, 0), (8, 0), (8, 8), (0, 8), (0, 3), (2.5, 3), (2.5, 5.5), (5.5, 5.5), (5.5, 2.5),
              (2.5, 2.5), (2.5, 3), (0, 3)]  # fmt: skip
    inside, outline = both(points)
    assert not {(x, y) for x in (3, 4, 5) for y in (3, 4, 5)} & (inside | outline)
    assert {(1, 1), (6, 6), (1, 4), (6, 3)} <= inside


def test_enclosed_pixels_beyond_the_slice_are_left_out():
    inside, outline = both([(-3, -3), (9, -3), (9, 9), (-3, 9)], (4, 3))
    assert inside == {(x, y) for x in range(4) for y in range(3)}
    assert outline == set()
    assert both([(9, 9), (12, 9), (9, 12)], (4, 3)) == (set(), set())
