"""Family, unit and IBSI code of features."""

import pytest

from semilung.radiomics import feature_table
from semilung.radiomics.feature_table import UNITS

pytest.importorskip("mirp")


def test_feature_table_has_nine_families_and_a_unit_and_code_for_each_feature():
    table = feature_table()
    assert table["family"].nunique() == 9
    assert table[["feature", "ibsi"]].nunique().tolist() == [len(table)] * 2
    assert not table.isna().any(axis=None)
    assert set(UNITS) <= set(table["feature"])


@pytest.mark.parametrize(
    ("feature", "row"),
    [
        ("morph_volume", ["morphological", "mm3", "RNU0"]),
        ("stat_mean", ["statistics", "HU", "Q4LE"]),
        ("stat_qcod", ["statistics", "1", "9S40"]),
        ("ih_mode", ["intensity_histogram", "level", "AMMC"]),
        ("cm_contrast", ["glcm", "level2", "ACUI"]),
        ("ngl_dc_energy", ["ngldm", "1", "CAS9"]),
    ],
)
def test_feature_table_states_unit_and_ibsi_code(feature, row):
    table = feature_table().set_index("feature")
    assert table.loc[feature].tolist() == row
