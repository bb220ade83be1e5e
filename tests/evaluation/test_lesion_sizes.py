from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from semilung.evaluation import by_size, size_bins, wilson
from semilung.types import UserError


def lesions(*rows: tuple[int, str, int, float, bool]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["seed", "case", "instance", "diameter_mm", "detected"])


SEEDS = lesions(
    (0, "a", 1, 5.9, True),
    (0, "a", 2, 6.0, False),
    (0, "b", 1, 25.0, True),
    (1, "a", 1, 5.9, False),
    (1, "a", 2, 6.0, False),
    (1, "b", 1, 25.0, True),
)


def test_size_bins_of_several_seeds_count_a_lesion_once():
    table = size_bins(SEEDS).set_index("size")
    assert table["n_lesions"].to_dict() == {
        "all": 3, "< 6 mm": 1, "6-10 mm": 1, "10-20 mm": 0, ">= 20 mm": 1
    }  # fmt: skip
    assert (table["n_seeds"] == 2).all()
    sensitivity = table["sensitivity"]
    assert sensitivity[["all", "< 6 mm", "6-10 mm", ">= 20 mm"]].tolist() == [0.5, 0.5, 0, 1]
    assert np.isnan(sensitivity["10-20 mm"])
    assert table.loc["all", ["low", "high"]].tolist() == list(wilson([0.5, 0, 1])[1:3])


def test_size_bins_of_several_arms_are_separate():
    arms = pd.concat([SEEDS.assign(arm="y"), SEEDS.assign(arm="x", detected=True)])
    table = size_bins(arms)
    assert table["arm"].unique().tolist() == ["y", "x"]
    assert table[table["size"] == "all"]["sensitivity"].tolist() == [0.5, 1]


def test_size_bins_of_one_run_need_neither_seed_nor_lesion():
    one = SEEDS[SEEDS["seed"] == 0].drop(columns="seed")
    assert size_bins(one)["n_seeds"].tolist() == [1] * 5
    assert size_bins(one.iloc[:0])["n_lesions"].tolist() == [0] * 5


def test_size_bins_of_seeds_with_different_lesions_are_an_error():
    with pytest.raises(UserError, match="lesion 1 of b has 1 rows for 2 seeds"):
        size_bins(SEEDS.iloc[:-1])
    with pytest.raises(UserError, match="has 2 rows for 1 seeds"):
        size_bins(SEEDS.drop(columns="seed"))


def test_by_size_assigns_every_lesion_to_one_bin():
    sizes = pd.DataFrame({"diameter_mm": [0.1, 6, 9.99, 10, 20, 100]})
    groups = by_size(sizes)
    assert [len(rows) for rows in groups.values()] == [6, 1, 2, 1, 2]


def test_size_bins_of_another_column_leave_out_lesions_that_do_not_count():
    rows = SEEDS[SEEDS["seed"] == 0].assign(detected_at_4=[0.25, np.nan, 1.0])
    rows["diameter_mm"] = [5.0, 6.0, np.nan]  # the last was not measured
    table = size_bins(rows, "detected_at_4").set_index("size")
    assert table["n_lesions"].tolist() == [2, 1, 0, 0, 0]
    assert table.loc["all", ["sensitivity", "low", "high"]].tolist() == list(wilson([0.25, 1])[:3])
