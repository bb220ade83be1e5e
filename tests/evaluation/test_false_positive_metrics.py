from __future__ import annotations

import numpy as np
import pytest

from semilung.evaluation import false_positives


def scene() -> np.ndarray:
    """Three components of 2, 1 and 4 voxels."""
    prediction = np.zeros((8, 8, 8), np.uint8)
    prediction[0, 0, 0:2] = 1
    prediction[4, 4, 4] = 1
    prediction[7, 4:8, 7] = 1
    return prediction


def test_on_a_healthy_scan_every_component_counts():
    assert false_positives(scene(), (0.5, 1, 2)) == (3, 7.0)
    assert false_positives(np.zeros((8, 8, 8)), (1, 1, 1)) == (0, 0.0)


def test_on_a_positive_scan_those_count_that_touch_no_lesion():
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[0, 0, 1:4] = 9
    assert false_positives(scene(), (1, 1, 1), reference) == (2, 5.0)


def test_beside_a_lesion_is_not_on_it():
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[5, 5, 5] = 1
    assert false_positives(scene(), (1, 1, 1), reference).components == 3


def test_a_component_that_reaches_an_ignored_voxel_is_excused():
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[7, 4, 7] = 255
    assert false_positives(scene(), (1, 1, 1), reference) == (2, 3.0)


def test_voxels_that_meet_at_a_corner_are_one_component():
    prediction = np.zeros((4, 4, 4), np.uint8)
    prediction[0, 0, 0] = prediction[1, 1, 1] = 1
    assert false_positives(prediction, (1, 1, 1)) == (1, 2.0)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        false_positives(scene(), (1, 1, 1), np.zeros((8, 8, 1), np.uint8))
