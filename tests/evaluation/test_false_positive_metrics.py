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


def test_false_positives_healthy_scan_counts_every_component():
    assert false_positives(scene(), (0.5, 1, 2)) == (3, 7.0)
    assert false_positives(np.zeros((8, 8, 8)), (1, 1, 1)) == (0, 0.0)


def test_false_positives_positive_scan_counts_components_without_a_lesion():
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[0, 0, 1:4] = 9
    assert false_positives(scene(), (1, 1, 1), reference) == (2, 5.0)


def test_false_positives_component_next_to_a_lesion_counts():
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[5, 5, 5] = 1
    assert false_positives(scene(), (1, 1, 1), reference).components == 3


def test_false_positives_component_on_an_ignored_voxel_does_not_count():
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[7, 4, 7] = 255
    assert false_positives(scene(), (1, 1, 1), reference) == (2, 3.0)


def test_false_positives_voxels_sharing_a_corner_are_one_component():
    prediction = np.zeros((4, 4, 4), np.uint8)
    prediction[0, 0, 0] = prediction[1, 1, 1] = 1
    assert false_positives(prediction, (1, 1, 1)) == (1, 2.0)


def test_false_positives_unequal_shapes_are_an_error():
    with pytest.raises(ValueError, match="shape"):
        false_positives(scene(), (1, 1, 1), np.zeros((8, 8, 1), np.uint8))
