"""Settings of radiomic features: ranges and combinations."""

import pytest

from semilung.radiomics import RadiomicsSettings
from semilung.types import UserError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spacing_mm": 0.0}, r"radiomics\.spacing_mm=0\.0 is out of range"),
        ({"bin_width_hu": float("nan")}, r"radiomics\.bin_width_hu=nan is out of range"),
        ({"bins": 1}, r"radiomics\.bins=1 is out of range"),
        ({"outlier_sigma": 0}, r"radiomics\.outlier_sigma=0 is out of range"),
        ({"range_hu": (-1e9, 0)}, r"radiomics\.range_hu=.* is out of range"),
        ({"range_hu": (400, -1000)}, "must ascend"),
        ({"range_hu": None}, "without their first edge"),
        ({"interpolation": "spline"}, r"radiomics\.interpolation is one of linear, cubic"),
        ({"aggregation": "3d"}, r"radiomics\.aggregation is one of 2d_average"),
    ],
)
def test_radiomics_settings_that_are_invalid_are_refused_by_name(settings, message):
    with pytest.raises(UserError, match=message):
        RadiomicsSettings(**settings)


def test_radiomics_settings_without_range_need_a_number_of_bins():
    assert RadiomicsSettings(range_hu=None, bins=32).bins == 32
