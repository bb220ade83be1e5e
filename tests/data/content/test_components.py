import numpy as np

from semilung.data.content.components import connected_components


def test_corners_connect_and_gaps_separate():
    mask = np.zeros((6, 6, 6))
    mask[0, 0, 0] = mask[1, 1, 1] = mask[1, 1, 3] = mask[5, 5, 5] = 0.2
    labels, count = connected_components(mask)
    assert count == 3
    assert labels[0, 0, 0] == labels[1, 1, 1] != labels[1, 1, 3]
