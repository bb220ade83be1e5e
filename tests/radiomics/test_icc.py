"""ICC(1,1) by the example of its authors."""

import numpy as np
import pytest

from semilung.radiomics import icc_1_1

SHROUT_FLEISS = [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7],
]
"""Table 2 of Shrout and Fleiss 1979: six targets, four raters."""


def test_icc_1_1_of_the_authors_example_is_theirs():
    value, low, high = icc_1_1(SHROUT_FLEISS)
    assert round(value, 2) == 0.17
    assert (round(low, 2), round(high, 2)) == (-0.13, 0.72)  # as R's psych::ICC prints them


def test_icc_1_1_leaves_out_incomplete_rows():
    assert icc_1_1([*SHROUT_FLEISS, [1, 2, np.nan, 4]]) == icc_1_1(SHROUT_FLEISS)


@pytest.mark.parametrize("ratings", [[[1, 2]], [[1], [2]], [[3, 3], [3, 3]], [[np.nan, 1]] * 3])
def test_icc_1_1_of_too_little_is_undefined(ratings):
    assert np.isnan(icc_1_1(ratings)).all()


def test_icc_1_1_of_equal_ratings_is_one_and_a_common_shift_lowers_it():
    rows = np.arange(6.0)[:, None]
    assert icc_1_1(np.repeat(rows, 3, axis=1)).value == 1
    assert icc_1_1(np.hstack([rows, rows + 2])).value == pytest.approx((7 - 2) / (7 + 2))
