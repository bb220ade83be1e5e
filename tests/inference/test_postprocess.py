from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semilung.inference import connected_components, to_mask
from semilung.types import UserError


def test_one_half_is_not_foreground():
    probability = np.array([[[0.5, 0.5001, 0.2]]])
    mask = to_mask(probability, spacing_mm=(1, 1, 1))
    assert mask.tolist() == [[[0, 1, 0]]]
    assert mask.dtype == np.uint8
    assert to_mask(probability, threshold=0.1, spacing_mm=(1, 1, 1)).all()


def test_small_components_go_by_volume_in_mm():
    probability = np.zeros((3, 3, 8))
    probability[0, 0, 0] = probability[2, 2, 4:6] = 1  # 1 and 2 voxels of 1.5 mm3
    spacing_mm = (1, 1, 1.5)
    for least, voxels in ((0, 3), (1.5, 3), (1.6, 2), (3.0, 2), (3.1, 0)):
        mask = to_mask(probability, min_volume_mm3=least, spacing_mm=spacing_mm)
        assert mask.sum() == voxels, least


@pytest.mark.parametrize("wrong", [{"threshold": 1.0}, {"threshold": -0.1}, {"min_volume_mm3": -1}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        to_mask(np.zeros((2, 2, 2)), spacing_mm=(1, 1, 1), **wrong)


@given(arrays(np.float32, (4, 4, 4), elements=st.floats(0, 1, width=32)), st.floats(0, 20))
@settings(max_examples=40, deadline=None)
def test_dropping_small_components_keeps_the_others_whole(probability, least):
    everything = to_mask(probability, spacing_mm=(1, 2, 1))
    mask = to_mask(probability, min_volume_mm3=least, spacing_mm=(1, 2, 1))
    labels, count = connected_components(everything)
    for number in range(1, count + 1):
        component = labels == number
        assert mask[component].all() == (2 * component.sum() >= least)
        assert mask[component].any() == mask[component].all()
    assert not mask[everything == 0].any()
