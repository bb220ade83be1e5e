"""Targets of centre detection, by hand and by their round trip through the decoder."""

import numpy as np
import pytest
import torch

from semilung.inference.centre_findings import find_centres
from semilung.strategies.centre_detection.centre_targets import centre_targets

NAN = float("nan")
ONE_MM = torch.ones(1, 3)


def targets(*rows, spacing_mm=(1.0, 1.0, 1.0), size=(16, 16, 16)):
    nodules = torch.tensor([[*rows]], dtype=torch.float32).reshape(1, -1, 5)
    return centre_targets(nodules, torch.tensor([spacing_mm]), size)


def test_centre_targets_of_a_nodule_by_hand():
    made = targets((5.0, 6.0, 7.5, 8.0, 1.0))
    assert made.centre.nonzero().tolist() == [[0, 0, 2, 3, 4]]
    assert made.heatmap[0, 0, 2, 3, 4] == 1
    assert made.offset[0, :, 2, 3, 4].tolist() == [0.25, -0.25, -0.5]
    assert made.log_diameter[0, 0, 2, 3, 4] == pytest.approx(np.log(8))
    assert made.measured[0, 0, 2, 3, 4]


def test_centre_targets_decode_to_their_nodules():
    rows = [(3.3, 4.1, 9.9, 6.0, 1.0), (12.7, 12.2, 2.4, 10.0, 1.0)]
    made = targets(*rows, spacing_mm=(0.7, 0.7, 2.5), size=(15, 16, 13))
    values = torch.cat([made.heatmap, made.offset, made.log_diameter], dim=1)[0].numpy()
    affine = np.diag([0.7, 0.7, 2.5, 1.0])
    found = find_centres(values, affine, min_probability=0.99, most=10)
    order = np.argsort(found.points_mm[:, 0])
    expected = np.array([row[:3] for row in rows]) * [0.7, 0.7, 2.5]
    np.testing.assert_allclose(found.points_mm[order], expected, atol=1e-5)
    np.testing.assert_allclose(found.diameter_mm[order], [6, 10], rtol=1e-5)


def test_centre_targets_ignored_findings_weigh_nothing_but_where_a_centre_is():
    made = targets((4.0, 4.0, 4.0, 8.0, 0.0), (5.0, 4.0, 4.0, 4.0, 1.0))
    assert made.weight[0, 0, 1, 1, 1] == 0
    assert made.weight[0, 0, 2, 2, 2] == 1  # the centre
    assert made.weight[0, 0, 7, 7, 7] == 1
    assert made.centre.sum() == 1


def test_centre_targets_unknown_diameter_is_no_target():
    made = targets((4.0, 4.0, 4.0, NAN, 1.0))
    assert made.centre.sum() == 1
    assert made.measured.sum() == 0
    assert made.log_diameter.isfinite().all()


def test_centre_targets_centre_beyond_the_crop_leaves_its_flank():
    made = targets((-2.0, 8.0, 8.0, 12.0, 1.0))
    assert made.centre.sum() == 0
    assert 0 < made.heatmap.max() < 1


def test_centre_targets_padding_and_no_nodules_are_empty():
    padded = targets((NAN,) * 5)
    none = centre_targets(torch.zeros(1, 0, 5), ONE_MM, (16, 16, 16))
    for made in (padded, none):
        assert made.heatmap.max() == 0
        assert made.weight.min() == 1
