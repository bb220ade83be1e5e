"""Choice of the threshold on validation cases."""

import numpy as np
import pandas as pd
import pytest
import torch

from semilung.data.data_config import DataConfig
from semilung.evaluation import choose_threshold, threshold_table
from semilung.evaluation.operating_point import THRESHOLDS
from semilung.inference import InferenceConfig, Predictor
from semilung.types import UserError


class Echo(torch.nn.Module):
    """A network whose foreground probability is its input."""

    def forward(self, x):
        return {"logits": torch.logit(x)}


class InMemoryCase:
    """A prepared case in memory."""

    spacing_mm = (1.0, 1.0, 2.0)
    lungs = None

    def __init__(self, probability, mask=None):
        self.image = np.round(probability * 1000).astype(np.int16)  # HU, of a window of 0 to 1000
        self.mask, self.shape = mask, probability.shape
        self.case = type("Case", (), {"role": "healthy" if mask is None else "labelled"})

    def read(self, name):
        return self.image if name == "image" else self.mask


def cube(nodule, vessel):
    """10 voxels of a nodule and 6 of a vessel with the given probabilities."""
    probability = np.full((12, 12, 12), 0.01)
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[1, 1, 1:11] = 3
    probability[1, 1, 1:11] = nodule
    probability[8, 8, 1:7] = vessel
    return probability, mask


def table(*cases):
    config = InferenceConfig(window=(12, 12, 12))
    predictor = Predictor([Echo()], config, DataConfig(window_hu=(0, 1000)))
    return threshold_table(predictor, cases).set_index("threshold")


def test_threshold_table_has_both_metrics_at_every_threshold():
    probability, mask = cube(0.75, 0.45)
    actual = table(InMemoryCase(probability, mask), InMemoryCase(probability))
    assert tuple(actual.index) == THRESHOLDS
    assert actual.loc[0.4, "dice"] == pytest.approx(20 / 26)  # nodule and vessel
    assert actual.loc[0.5, "dice"] == actual.loc[0.7, "dice"] == 1
    assert actual.loc[0.8, "dice"] == 0
    # healthy: 16 voxels of 2 mm3, then 10, then none; those of the nodule scan are excluded
    assert actual["healthy_fp_volume_mm3"].loc[[0.4, 0.5, 0.8]].tolist() == [32, 20, 0]


def test_choose_threshold_of_equal_dice_returns_the_highest():
    probability, mask = cube(0.75, 0.45)
    actual = table(InMemoryCase(probability, mask))
    assert choose_threshold(actual.reset_index()) == 0.7
    assert actual["healthy_fp_volume_mm3"].isna().all()


def test_threshold_table_case_with_ignored_nodules_counts_in_neither_metric():
    probability, mask = cube(0.75, 0.45)
    with pytest.raises(UserError, match="no validation case has a nodule"):
        table(
            InMemoryCase(probability),
            InMemoryCase(probability, np.where(mask > 0, 255, 0).astype(np.uint8)),
        )
    ignored = InMemoryCase(probability, np.where(mask > 0, 255, 0).astype(np.uint8))
    actual = table(InMemoryCase(probability, mask), ignored)
    assert np.isnan(actual.loc[0.4, "healthy_fp_volume_mm3"])
    assert actual.loc[0.4, "dice"] == table(InMemoryCase(probability, mask)).loc[0.4, "dice"]


def test_choose_threshold_uses_the_mean_over_cases():
    sure, mask = cube(0.92, 0.01)
    unsure, _ = cube(0.35, 0.01)
    assert (
        choose_threshold(table(InMemoryCase(sure, mask), InMemoryCase(unsure, mask)).reset_index())
        == 0.3
    )


def test_choose_threshold_trades_at_most_the_margin_of_dice():
    for behind, expected in ((0.009, 0.7), (0.011, 0.4)):
        dice = [0.45, 0.5, 0.5 - behind, 0.45]
        table = pd.DataFrame({"threshold": [0.3, 0.4, 0.7, 0.9], "dice": dice})
        assert choose_threshold(table) == expected
