"""Nodules against image and mask: each inconsistency has its message, a sound scan has none."""

import numpy as np
import pytest

from semilung.data.content.voxel_checks import Issue
from semilung.data.io.volume import Volume
from semilung.data.manifest.nodule_checks import nodule_issues
from semilung.data.manifest.nodules import Nodule

AFFINE = np.array([[-0.8, 0, 0, 60], [0, -0.8, 0, 80], [0, 0, 1.5, -300], [0, 0, 0, 1.0]])
SHAPE = (50, 50, 30)
FIRST, SECOND = (45.0, 60.0, -280.0), (30.0, 66.0, -270.0)


def scan(*nodules, radius_mm=5.0):
    """Lung of -850 HU with balls of 30 HU, and their mask."""
    places_mm = np.moveaxis(np.indices(SHAPE), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    mask = np.zeros(SHAPE, np.uint8)
    for label, centre_mm in enumerate(nodules, start=1):
        mask[np.linalg.norm(places_mm - centre_mm, axis=-1) <= radius_mm] = label
    return Volume(np.where(mask > 0, 30, -950).astype(np.int16), AFFINE), Volume(mask, AFFINE)


def issues(nodules, image, mask=None):
    return [
        (name, issue.severity, issue.message) for name, issue in nodule_issues(nodules, image, mask)
    ]


@pytest.mark.parametrize("one_label", [False, True])
def test_nodule_issues_of_nodules_that_agree_with_image_and_mask_are_none(one_label):
    image, mask = scan(FIRST, SECOND)
    if one_label:
        mask = Volume((mask.data > 0).astype(np.uint8), AFFINE)
    nodules = [Nodule("a", FIRST, 10), Nodule("b", SECOND, None)]
    assert issues(nodules, image, mask) == issues(nodules, image) == []


def test_nodule_issues_of_a_centre_outside_in_lps_says_so():
    image, _ = scan(FIRST)
    x, y, z = FIRST
    [(name, severity, message)] = issues([Nodule("a", (-x, -y, z), 10)], image)
    assert (name, severity) == ("a", "error")
    assert "outside the volume" in message
    assert "LPS" in message
    [(_, _, message)] = issues([Nodule("a", (x, y, 500), 10)], image)
    assert "LPS" not in message


def test_nodule_issues_of_a_centre_in_air_gives_the_highest_value():
    image, _ = scan(FIRST)
    [(_, severity, message)] = issues([Nodule("a", (50, 50, -290), 10)], image)
    assert severity == "error"
    assert "in air" in message
    assert "-950 HU" in message


def test_nodule_issues_of_an_ignored_finding_in_air_are_none():
    image, mask = scan(FIRST)
    nodules = [Nodule("a", FIRST, 10), Nodule("b", (50, 50, -290), 2, ignored=True)]
    assert issues(nodules, image, mask) == []


def test_nodule_issues_of_a_second_component_without_row_is_one_nodule_too_many():
    image, mask = scan(FIRST, SECOND)
    binary = Volume((mask.data > 0).astype(np.uint8), AFFINE)
    [(_, severity, message)] = issues([Nodule("a", FIRST)], image, binary)
    assert severity == "error"
    assert "has no row" in message


def test_nodule_issues_of_two_centres_in_one_nodule_names_both():
    image, _ = scan(FIRST)
    twin = (FIRST[0] + 1, FIRST[1], FIRST[2])
    [(name, _, message)] = issues([Nodule("a", FIRST, 10), Nodule("b", twin, 10)], image)
    assert name == "b"
    assert "1.0 mm from that of nodule 'a'" in message


def test_nodule_issues_of_a_nodule_without_mask_and_a_mask_without_row():
    image, mask = scan(FIRST, SECOND)
    other = Volume(np.where(mask.data == 2, 0, mask.data), AFFINE)
    [(name, severity, message)] = issues([Nodule("a", FIRST), Nodule("b", SECOND)], image, other)
    assert (name, severity) == ("b", "error")
    assert "marks nothing at its centre" in message
    [(name, severity, message)] = issues([Nodule("a", FIRST)], image, mask)
    assert (name, severity) == ("", "error")
    assert "(30.0, 66.0, -270.0) mm" in message or "(30.0, 66.1, -270.0) mm" in message
    empty = Volume(np.zeros(SHAPE, np.uint8), AFFINE)
    [(_, _, message)] = issues([Nodule("a", FIRST)], image, empty)
    assert "the mask is empty" in message


@pytest.mark.parametrize(("diameter_mm", "count"), [(6, 0), (10, 0), (18, 0), (4, 1), (25, 1)])
def test_nodule_issues_of_another_diameter_than_the_mask_s_is_a_warning(diameter_mm, count):
    image, mask = scan(FIRST)
    found = list(nodule_issues([Nodule("a", FIRST, diameter_mm)], image, mask))
    assert len(found) == count
    assert all(isinstance(issue, Issue) and issue.severity == "warning" for _, issue in found)
