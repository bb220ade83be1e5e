"""Stability of features over perturbed masks, and the choice of stable ones."""

import numpy as np
import pandas as pd
import pytest

from semilung.radiomics import icc_1_1, stability_table, stable_features

pytest.importorskip("mirp")

MASKS = ("unchanged", "eroded", "shifted_z")


@pytest.fixture
def perturbed():
    """Two features of 20 nodules: one that masks hardly change, and noise."""
    from semilung.radiomics import feature_table

    rng = np.random.default_rng(0)
    rows = pd.DataFrame([("c", str(n), mask) for n in range(20) for mask in MASKS])
    rows.columns = pd.Index(["case", "nodule", "perturbation"])
    noise = pd.DataFrame(rng.normal(size=(len(rows), 159)), columns=feature_table()["feature"])
    noise["stat_mean"] = rows["nodule"].astype(int) + 0.1 * noise["stat_mean"]
    return pd.concat([rows, noise], axis=1)


def test_stability_table_states_the_icc_of_each_feature(perturbed):
    perturbed.loc[perturbed["nodule"] == "3", "stat_max"] = np.nan
    table = stability_table(perturbed).set_index("feature")
    wide = perturbed.pivot_table("stat_mean", "nodule", "perturbation")
    assert table.loc["stat_mean", "icc"] == pytest.approx(icc_1_1(wide).value)
    assert table.loc["stat_mean", ["unit", "nodules", "perturbations"]].tolist() == ["HU", 20, 3]
    assert table.loc["stat_max", "nodules"] == 19
    assert stable_features(table.reset_index()) == ["stat_mean"]


def test_stability_table_leaves_out_masks_that_many_nodules_lack(perturbed):
    rare = perturbed["nodule"].isin(["1", "2", "3"]) & (perturbed["perturbation"] == "shifted_z")
    table = stability_table(perturbed[~rare])
    assert set(table["perturbations"]) == {2}
    assert set(table["nodules"]) == {20}


def test_stable_features_excludes_undefined_and_less_stable_ones():
    table = pd.DataFrame({"feature": [*"abc"], "icc": [0.75, 0.7, np.nan]})
    assert stable_features(table) == ["a"]
    assert stable_features(table, least=0.7) == ["a", "b"]
