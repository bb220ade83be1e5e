"""Conventions for empty masks compared with MONAI and the published rules of other toolkits."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric

from semilung.config.run_name import run_name
from semilung.evaluation import (
    EMPTY_POLICIES,
    EvaluationConfig,
    Report,
    apply_empty_policy,
    compare,
    summarise,
)
from semilung.training import TrainConfig
from semilung.types import UserError

SHAPE = (9, 8, 7)


def box(low: int, high: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[low:high, 2:5, 2:5] = 1
    return mask


EMPTY = np.zeros(SHAPE, np.uint8)
# Prediction and reference: equal, partial overlap, missed, false positive, both empty.
PAIRS = {
    "exact": (box(2, 5), box(2, 5)),
    "part": (box(2, 5), box(3, 8)),
    "missed": (EMPTY, box(2, 5)),
    "alarm": (box(4, 5), EMPTY),
    "silent": (EMPTY, EMPTY),
}
CASES = pd.DataFrame([{"case": name, **compare(p, r, (1, 1, 1))} for name, (p, r) in PAIRS.items()])


def scored(policy: str, metric: str) -> list[float]:
    return apply_empty_policy(CASES, policy)[metric].tolist()


def test_apply_empty_policy_semilung_changes_nothing():
    pd.testing.assert_frame_equal(apply_empty_policy(CASES, "semilung"), CASES)


@pytest.mark.parametrize(
    ("metric", "monai_metric"),
    [
        ("dice", DiceMetric(reduction="none")),
        ("hd95_mm", HausdorffDistanceMetric(percentile=95, reduction="none")),
        ("surface_dice_2mm", SurfaceDiceMetric([2.0], use_subvoxels=True, reduction="none")),
    ],
)
def test_apply_empty_policy_monai_equals_monai(metric, monai_metric):
    def one_hot(masks):
        foreground = torch.from_numpy(np.stack(masks)).bool()
        return torch.stack([~foreground, foreground], dim=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty masks, and of its own arguments
        monai_metric(*(one_hot(masks) for masks in zip(*PAIRS.values(), strict=True)))
        expected = monai_metric.aggregate()
    # The mean that MONAI forms leaves NaN out.
    foreground = expected[:, -1].tolist()
    assert scored("monai", metric) == pytest.approx(foreground, nan_ok=True, abs=1e-6)


def test_apply_empty_policy_nnunet_divides_and_leaves_zero_by_zero_undefined():
    expected = []
    for p, r in PAIRS.values():
        tp, fp, fn = ((p & r).sum(), (p & ~r & 1).sum(), (~p & r & 1).sum())
        with np.errstate(invalid="ignore"):
            expected.append(np.float64(2 * tp) / (2 * tp + fp + fn))
    assert scored("nnunet", "dice") == pytest.approx(expected, nan_ok=True)
    assert scored("nnunet", "dice")[2:] == pytest.approx([0, 0, math.nan], nan_ok=True)
    assert set(EMPTY_POLICIES["nnunet"]) == {"dice"}


def test_apply_empty_policy_pymic_smooths_dice_and_sets_a_distance_of_100():
    expected = [(2 * (p & r).sum() + 1e-5) / (p.sum() + r.sum() + 1e-5) for p, r in PAIRS.values()]
    assert scored("pymic", "dice") == pytest.approx(expected, abs=1e-5)
    assert scored("pymic", "hd95_mm")[2:] == [100, 100, 0]
    assert scored("pymic", "hd95_mm")[:2] == CASES["hd95_mm"].tolist()[:2]


def test_apply_empty_policy_returns_a_copy_that_can_be_rescored():
    before = CASES.copy()
    again = apply_empty_policy(apply_empty_policy(CASES, "pymic"), "semilung")
    pd.testing.assert_frame_equal(CASES, before)
    pd.testing.assert_frame_equal(again, CASES)


def test_summarise_with_a_convention_appends_its_rows():
    cases = CASES.assign(cohort="", **dict.fromkeys(("ece", "foreground_ece", "brier"), 0.1))
    lesions = pd.DataFrame(columns=["case", "instance", "diameter_mm", "detected", "dice"])
    report = Report(cases, lesions.astype({"diameter_mm": float}))
    base, pymic = summarise(report), summarise(report, empty="pymic")
    pd.testing.assert_frame_equal(pymic.iloc[: len(base)], base)
    extra = pymic.iloc[len(base) :].set_index("metric")
    assert set(extra["group"]) == {"all scans, as pymic"}
    # exact 1, part 2 * 18 / (27 + 45), missed 0, alarm 0, silent 1.
    assert extra.loc["dice", ["mean", "n"]].tolist() == [2.5 / 5, 5]
    nnunet = summarise(report, empty="nnunet").iloc[-1]
    assert nnunet[["metric", "mean", "n"]].tolist() == ["dice", 1.5 / 4, 4]


@pytest.mark.parametrize("name", ["nnU-Net", "", 3, {"a": 1}])
def test_apply_empty_policy_unknown_name_is_an_error(name):
    with pytest.raises(UserError, match=r"evaluation\.empty must be one of semilung, nnunet"):
        EvaluationConfig(empty=name)
    with pytest.raises(UserError, match="got"):
        apply_empty_policy(CASES, name)


@pytest.mark.parametrize(
    ("name", "hint"), [("nnU-Net", "; did you mean nnunet?"), ("monia", "; did you mean monai?"),
                        ("zero", "")]
)  # fmt: skip
def test_apply_empty_policy_misspelt_name_suggests_the_nearest(name, hint):
    with pytest.raises(UserError) as error:
        apply_empty_policy(CASES, name)
    assert str(error.value).endswith(f"got {name!r}{hint}")


def test_run_name_does_not_depend_on_the_convention():
    config = TrainConfig(evaluation=EvaluationConfig("nnunet"))
    assert run_name(config) == run_name(TrainConfig())
