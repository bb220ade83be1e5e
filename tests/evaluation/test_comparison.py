"""Comparison of arms: by hand calculation, properties and SciPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semilung.evaluation import compare_arms, relative_reduction
from semilung.types import UserError

NAN = math.nan


def long_table(arms: dict[str, dict[int, list[float]]], metric: str = "dice") -> pd.DataFrame:
    """Table of arm to seed to the values of cases a, b, c, ..."""
    return pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "case": chr(ord("a") + number), metric: value}
            for arm, seeds in arms.items()
            for seed, values in seeds.items()
            for number, value in enumerate(values)
        ]
    )


def row(table: pd.DataFrame, arm: str) -> pd.Series:
    return table.set_index("arm").loc[arm]


TWO_ARMS = {
    "supervised": {0: [0.1, 0.2, 0.6, 0.5], 1: [0.3, 0.4, NAN, 0.5]},
    "mil": {0: [0.4, 0.4, 0.7, NAN], 1: [0.6, 0.6, 0.7, NAN]},
}


def test_compare_arms_averages_seeds_within_a_case_first():
    table = compare_arms(long_table(TWO_ARMS))
    base, mil = row(table, "supervised"), row(table, "mil")
    # By case: 0.2, 0.3, 0.6 (of the one seed that defines it), 0.5. The mean of all
    # seven values would be 0.371.
    assert base["mean"] == pytest.approx(0.4)
    assert mil["mean"] == pytest.approx((0.5 + 0.5 + 0.7) / 3)
    # Paired over a, b, c: 0.3, 0.2, 0.1. The difference of the means would be 0.167.
    assert mil["difference"] == pytest.approx(0.2)
    assert (mil["n_pairs"], mil["n_cases"], mil["n_undefined"], mil["n_seeds"]) == (3, 3, 1, 2)
    assert (base["n_cases"], base["n_undefined"]) == (4, 0)
    # Of the 2^3 signs of three differences two give so extreme a rank sum, one on each side.
    assert mil["p"] == mil["p_holm"] == 0.25


def test_compare_arms_reference_has_no_difference():
    base = row(compare_arms(long_table(TWO_ARMS)), "supervised")
    assert base["n_pairs"] == 0
    assert base[["difference", "difference_low", "difference_high", "p", "p_holm"]].isna().all()


def test_compare_arms_case_undefined_in_every_arm_is_not_counted():
    arms = {"supervised": {0: [0.5, 0.6, NAN]}, "mil": {0: [0.5, NAN, NAN]}}
    table = compare_arms(long_table(arms))
    assert table["n_undefined"].tolist() == [0, 1]


def test_compare_arms_keeps_the_order_of_arms_for_any_reference():
    table = compare_arms(long_table(TWO_ARMS), reference="mil")
    assert table["arm"].tolist() == ["supervised", "mil"]
    assert row(table, "supervised")["difference"] == pytest.approx(-0.2)
    assert row(table, "supervised")["p"] == 0.25


def test_compare_arms_of_several_arms_corrects_p_values():
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    arms = {
        "supervised": {0: values},
        "up": {0: [v + 0.01 * (i + 1) for i, v in enumerate(values)]},
        "mixed": {
            0: [v + s for v, s in zip(values, [0.1, -0.2, 0.3, -0.4, 0.5, 0.6], strict=True)]
        },
        "same": {0: values},
    }
    table = compare_arms(long_table(arms))
    # All six go up: 2 of 64 sign patterns. "mixed" has rank sum 6 below: 28 of 64 reach it or less.
    counts = sum(
        min(plus, 21 - plus) <= 6
        for signs in itertools.product((0, 1), repeat=6)
        for plus in [sum(rank for rank, sign in enumerate(signs, start=1) if sign)]
    )
    p = [2 / 64, counts / 64, 1.0]
    assert table["p"].tolist()[1:] == pytest.approx(p)
    assert table["p_holm"].tolist()[1:] == pytest.approx([3 * p[0], min(1, 2 * p[1]), 1.0])


def test_compare_arms_p_equals_scipy_on_case_means():
    rng = np.random.default_rng(0)
    base, other = rng.random((2, 3, 25))
    arms = {"supervised": dict(enumerate(base.tolist())), "x": dict(enumerate(other.tolist()))}
    expected = stats.wilcoxon(other.mean(axis=0), base.mean(axis=0))
    assert row(compare_arms(long_table(arms)), "x")["p"] == pytest.approx(expected.pvalue)


def test_compare_arms_p_is_two_sided():
    arms = {"supervised": {0: [0.5] * 6}, "worse": {0: [0.1, 0.2, 0.3, 0.4, 0.45, 0.35]}}
    swapped = {"supervised": arms["worse"], "worse": arms["supervised"]}
    down, up = (row(compare_arms(long_table(a)), "worse") for a in (arms, swapped))
    assert down["p"] == up["p"] == 2 / 64
    assert down["difference"] == pytest.approx(-up["difference"])


def test_compare_arms_equal_differences_are_ties_despite_rounding():
    # As floats, each of the three rises is a little more than each of the two falls.
    arms = {
        "supervised": {0: [0.1, 0.3, 0.7, 0.3, 0.9]},
        "x": {0: [0.2, 0.4, 0.8, 0.2, 0.8]},
    }
    assert 0.2 - 0.1 > 0.3 - 0.2
    # Five ties have the rank 3 each; three of five signs up is as even as it can be.
    assert row(compare_arms(long_table(arms)), "x")["p"] == 1


def test_compare_arms_intervals_equal_hand_calculation():
    # One seed, two cases: the mean of two draws is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4.
    one = row(compare_arms(long_table({"supervised": {0: [0.0, 1.0]}})), "supervised")
    assert (one["low"], one["high"], one["n_seeds"]) == (0, 1, 1)
    # Two seeds without variation between cases: one of the two is drawn, 0.2 or 0.4.
    arms = {"supervised": {0: [0.2] * 3, 1: [0.4] * 3}}
    two = row(compare_arms(long_table(arms)), "supervised")
    assert (two["mean"], two["low"], two["high"]) == pytest.approx((0.3, 0.2, 0.4))
    # Three of four seeds are drawn, of which one has 1: all three with chance 1/64, less than
    # 2.5 %, two or more with 10/64. Of four draws three would be 1 with chance 13/256, 5 %.
    arms = {"supervised": {seed: [float(seed == 0)] * 3 for seed in range(4)}}
    four = row(compare_arms(long_table(arms)), "supervised")
    assert (four["mean"], four["low"], four["high"]) == pytest.approx((1 / 4, 0, 2 / 3))


def test_compare_arms_with_equal_seeds_share_their_resamples():
    """A seed that is better in both arms does not widen the interval of their difference."""
    base = {0: [0.2, 0.3], 1: [0.6, 0.7]}
    higher = {seed: [v + 0.1 for v in values] for seed, values in base.items()}
    same = row(compare_arms(long_table({"supervised": base, "x": higher})), "x")
    assert (same["difference_low"], same["difference_high"]) == pytest.approx((0.1, 0.1))
    others = {seed + 5: values for seed, values in higher.items()}
    apart = row(compare_arms(long_table({"supervised": base, "x": others})), "x")
    # Drawn apart, the seeds' 0.4 shows on both sides of 0.1.
    assert (apart["difference_low"], apart["difference_high"]) == pytest.approx((-0.3, 0.5))


def test_compare_arms_single_case_has_no_interval():
    table = compare_arms(long_table({"supervised": {0: [0.1], 1: [0.5]}, "x": {0: [0.2]}}))
    assert table[["low", "high", "difference_low", "difference_high"]].isna().all(axis=None)
    assert row(table, "x")["difference"] == pytest.approx(-0.1)


def test_compare_arms_arm_without_defined_values_is_nan():
    arms = {"supervised": {0: [0.1, 0.2]}, "x": {0: [NAN, NAN]}}
    x = row(compare_arms(long_table(arms)), "x")
    assert (x["n_cases"], x["n_undefined"], x["n_pairs"]) == (0, 2, 0)
    assert x[["mean", "low", "difference", "p", "p_holm"]].isna().all()


def test_compare_arms_seed_without_defined_values_is_excluded():
    arms = {"supervised": {0: [0.5, 0.5, 0.5], 1: [NAN, NAN, NAN]}}
    base = row(compare_arms(long_table(arms)), "supervised")
    assert (base["mean"], base["low"], base["high"]) == (0.5, 0.5, 0.5)


def test_compare_arms_case_undefined_in_a_resample_of_one_arm_is_excluded_from_both():
    """Otherwise a resample would compare means over different cases."""
    arms = {
        "supervised": {seed: [2.0, 40.0, 3.0] for seed in (0, 1)},
        "x": {0: [2.0, 40.0, 3.0], 1: [2.0, NAN, 3.0]},
    }
    table = long_table(arms, "hd95_mm")
    x = row(compare_arms(table, metric="hd95_mm"), "x")
    assert (x["difference"], x["difference_low"], x["difference_high"]) == (0, 0, 0)
    reduced = relative_reduction(table, metric="hd95_mm", reference="supervised")
    assert reduced[["reduction", "low", "high"]].to_numpy().tolist() == [[0, 0, 0]]


def test_compare_arms_of_three_seeds_has_nominal_coverage():
    """Over 3 seeds and 25 cases, both varying, 95 % of intervals contain the difference."""
    rng = np.random.default_rng(4)
    covered = []
    for trial in range(150):
        case = rng.normal(0, 0.15, 25)
        values = [
            case + shift + rng.normal(0, 0.02, (3, 1)) + rng.normal(0, 0.1, 25)
            for shift in (0, 0.1)
        ]
        arms = {
            name: dict(enumerate((f + rng.normal(0, 0.05, f.shape)).tolist()))
            for name, f in zip(("supervised", "x"), values, strict=True)
        }
        x = row(compare_arms(long_table(arms), bootstrap=400, seed=trial), "x")
        covered.append(x["difference_low"] <= 0.1 <= x["difference_high"])
    assert 0.88 <= np.mean(covered) <= 0.99


def lesion_table(detected: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Table of arm to the lesions of each case."""
    return pd.DataFrame(
        [
            {"arm": arm, "seed": 0, "case": f"c{c}", "instance": i, "detected": value}
            for arm, cases in detected.items()
            for c, lesions in enumerate(cases)
            for i, value in enumerate(lesions, start=1)
        ]
    )


def test_compare_arms_of_lesions_averages_lesions_and_pairs_cases():
    table = lesion_table({"supervised": [[0, 0, 0], [1]], "x": [[1, 1, 0], [1]]})
    x = row(compare_arms(table, metric="detected"), "x")
    assert x["mean"] == pytest.approx(3 / 4)
    assert x["difference"] == pytest.approx(2 / 4)
    assert (x["n_cases"], x["n_pairs"]) == (4, 4)
    assert x["p"] == 1  # one case of two differs: both of its two signs are as extreme
    # Whole cases are drawn: twice the first, one of each, twice the second.
    assert (x["low"], x["high"]) == pytest.approx((2 / 3, 1))


def test_compare_arms_on_different_cases_is_an_error_naming_them():
    table = long_table(TWO_ARMS)
    incomplete = table[~((table["arm"] == "mil") & (table["seed"] == 1) & (table["case"] == "b"))]
    with pytest.raises(UserError, match=r"different cases: 'mil', seed 1, lacks b\. .*same split"):
        compare_arms(incomplete)
    many = pd.DataFrame({"arm": "x", "seed": [0] * 9 + [1], "case": [*"abcdefghi", "a"], "dice": 1})
    with pytest.raises(UserError, match="lacks b, c, d, e, f and 3 more"):
        compare_arms(many, reference="x")


def test_compare_arms_of_an_incomplete_table_is_an_error():
    table = long_table(TWO_ARMS)
    with pytest.raises(UserError, match="'sup' is not among the arms: supervised, mil"):
        compare_arms(table, reference="sup")
    with pytest.raises(UserError, match="'mil', seed 0, has c more than once"):
        compare_arms(pd.concat([table, table[table["arm"] == "mil"].iloc[2:3]]))
    with pytest.raises(UserError, match=r"absent: seed"):
        compare_arms(table.drop(columns="seed"))
    with pytest.raises(UserError, match=r"absent: ece"):
        compare_arms(table, metric="ece")


values = st.one_of(st.just(NAN), st.floats(0, 1).map(lambda v: round(v, 3)))
tables = st.integers(2, 6).flatmap(
    lambda n: st.lists(st.lists(values, min_size=n, max_size=n), min_size=4, max_size=4)
)


@settings(max_examples=40, deadline=None)
@given(tables, st.randoms(use_true_random=False))
def test_compare_arms_does_not_depend_on_the_order_of_rows(values, random):
    arms = {"supervised": dict(enumerate(values[:2])), "x": dict(enumerate(values[2:]))}
    table = long_table(arms)
    shuffled = table.sample(frac=1, random_state=random.randrange(1000))
    shuffled = shuffled.sort_values("arm", kind="stable", key=lambda a: a != "supervised")
    pd.testing.assert_frame_equal(
        compare_arms(table, bootstrap=200), compare_arms(shuffled, bootstrap=200)
    )


@settings(max_examples=40, deadline=None)
@given(tables)
def test_compare_arms_of_equal_arms_has_no_difference(values):
    same = dict(enumerate(values))
    table = compare_arms(long_table({"supervised": same, "x": same}), bootstrap=200)
    x = row(table, "x")
    if x["n_pairs"]:
        assert (x["difference"], x["p"], x["p_holm"]) == (0, 1, 1)
    if x["n_pairs"] > 1:
        assert (x["difference_low"], x["difference_high"]) == (0, 0)
        assert 0 <= x["low"] <= x["high"] <= 1


def test_relative_reduction_is_a_ratio_of_means():
    arms = {
        "old": {0: [100.0, 300.0, 0.0], 1: [300.0, 500.0, 0.0]},
        "new": {0: [0.0, 20.0, 10.0], 1: [20.0, 60.0, 10.0]},
        "none": {0: [0.0, 0.0, 0.0]},
    }
    table = relative_reduction(long_table(arms, "fp_volume_mm3"), reference="old")
    # By scan 200, 400, 0 become 10, 40, 10. The mean of ratios would be undefined.
    assert table["arm"].tolist() == ["new", "none"]
    assert table["reduction"].tolist() == pytest.approx([0.9, 1.0])
    assert table.loc[0, ["n_pairs", "n_seeds"]].tolist() == [3, 2]
    assert table.loc[0, "low"] < 0.9 < table.loc[0, "high"] <= 1
    assert table.loc[1, ["low", "high"]].tolist() == [1, 1]


def test_relative_reduction_of_a_proportional_arm_has_interval_of_width_zero():
    old = [50.0, 900.0, 3.0, 0.0, 10.0]
    arms = {"old": {0: old}, "new": {0: [0.25 * v for v in old]}}
    actual = relative_reduction(long_table(arms, "fp_volume_mm3"), reference="old").iloc[0]
    assert actual[["reduction", "low", "high"]].tolist() == pytest.approx([0.75] * 3)


def test_relative_reduction_of_a_silent_reference_is_undefined():
    arms = {"old": {0: [0.0, 0.0]}, "new": {0: [0.0, 5.0]}}
    actual = relative_reduction(long_table(arms, "fp_volume_mm3"), reference="old").iloc[0]
    assert actual[["reduction", "low", "high"]].isna().all()
    with pytest.raises(UserError, match="supervised, no healthy"):
        relative_reduction(long_table(arms, "fp_volume_mm3"))
