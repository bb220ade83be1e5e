"""The table of metrics, and what is read from it."""

import math

import pandas as pd
import pytest

from semilung.ablation.sweep_job import mean_metrics
from semilung.evaluation import SEGMENTATION, Metric, Report, summarise
from semilung.evaluation.metrics import members

CASES = pd.DataFrame(
    {"case": [*"abcd"], "cohort": "", "role": ["labelled", "labelled", "healthy", "healthy"],
     "reference_volume_mm3": [9.0, math.nan, 0.0, 0.0], "hu": [-3.0, 5.0, 7.0, 1.0]}
)  # fmt: skip


def row(**values):
    defaults = {"name": "hu", "column": "hu", "label": "HU", "meaning": "It is one."}
    return Metric(**defaults | values)


def test_metrics_have_distinct_names_and_distinct_columns_of_results():
    for names in (
        [metric.name for metric in SEGMENTATION],
        [metric.result_name for metric in SEGMENTATION],
        [(metric.summary_name, metric.population) for metric in SEGMENTATION],
    ):
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("population", "cases"), [("positive", "a"), ("healthy", "cd"), ("all scans", "abcd")]
)
def test_members_are_by_volume(population, cases):
    assert members(CASES, population)["case"].tolist() == [*cases]


@pytest.mark.parametrize(("population", "cases"), [("positive", "ab"), ("healthy", "cd")])
def test_members_without_reference_volumes_are_by_role(population, cases):
    without = CASES.drop(columns="reference_volume_mm3")
    assert members(without, population)["case"].tolist() == [*cases]


@pytest.mark.parametrize(
    ("population", "mean"), [("positive", -3.0), ("healthy", 4.0), ("all scans", 2.5)]
)
def test_a_row_of_the_table_is_summarised_over_its_population(population, mean):
    metric = row(population=population, unit="HU", summary="mean_hu")
    summary = summarise(Report(CASES, pd.DataFrame(), (metric,)))
    assert summary[["metric", "group", "mean", "unit"]].to_numpy().tolist() == [
        ["mean_hu", population, mean, "HU"]
    ]


def test_gain_of_a_metric_that_is_better_if_lower_has_the_other_sign():
    assert row().gain(2.0) == 2.0
    assert row(direction="lower").gain(2.0) == -2.0
    assert [row().full_scale, row(direction="lower").full_scale] == [True, False]


def test_published_names_of_segmentation_are_kept():
    assert [m.validation_name for m in SEGMENTATION if m.validated] == [
        "val/dice", "val/healthy_fp_components", "val/healthy_fp_mm3",
    ]  # fmt: skip
    assert [m.name for m in SEGMENTATION if m.reported] == [
        "dice", "surface_dice", "hd95_mm", "healthy_fp_components", "healthy_fp_mm3", "silent",
        "ece", "foreground_ece", "brier",
    ]  # fmt: skip
    assert [m.result_name for m in SEGMENTATION] == [
        "dice", "surface_dice_2mm", "hd95_mm", "empty_prediction", "fp_components",
        "fp_volume_mm3", "sensitivity", "lesion_dice", "healthy_fp_components",
        "healthy_fp_volume_mm3", "healthy_silent", "ece", "foreground_ece", "brier",
        "healthy_ece", "healthy_foreground_ece", "healthy_brier",
    ]  # fmt: skip


def test_results_of_an_ablation_are_named_by_the_table():
    cases = CASES.assign(dice=[0.5, math.nan, math.nan, math.nan], fp_volume_mm3=[0.0, 0, 4, 8],
                         predicted_volume_mm3=[9.0, 0, 4, 8])  # fmt: skip
    means = mean_metrics(Report(cases, pd.DataFrame()))
    assert means == {
        "dice": 0.5, "empty_prediction": 0.0, "fp_volume_mm3": 0.0,
        "healthy_fp_volume_mm3": 6.0, "healthy_silent": 0.0,
    }  # fmt: skip


def test_summary_has_a_ranking_of_all_lesions_and_of_no_size():
    share = row(name="s", column="s", population="lesions")
    ranking = row(name="r", column="r", population="lesions", separable=False)
    lesions = pd.DataFrame({"diameter_mm": [4.0, 12.0], "s": [0.0, 1.0], "r": [1.2, 0.6]})
    summary = summarise(Report(CASES, lesions, (share, ranking)))
    assert summary.loc[summary["metric"] == "r", "group"].tolist() == ["lesions"]
    assert "lesions 10-20 mm" in summary.loc[summary["metric"] == "s", "group"].tolist()
