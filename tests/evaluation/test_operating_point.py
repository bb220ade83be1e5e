"""The threshold that is chosen on validation cases."""

import numpy as np
import pandas as pd
import pytest
import torch

from semilung.evaluation import choose_threshold, threshold_table
from semilung.evaluation.operating_point import THRESHOLDS
from semilung.inference import InferenceConfig
from semilung.types import UserError


class Echo(torch.nn.Module):
    """Says that a voxel is foreground with the probability that the image holds."""

    def forward(self, x):
        return {"logits": torch.logit(x)}


class Held:
    """A prepared case held in memory."""

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
    return threshold_table(
        Echo(), cases, window_hu=(0, 1000), config=InferenceConfig(window=(12, 12, 12))
    ).set_index("threshold")


def test_figures_at_every_threshold():
    probability, mask = cube(0.75, 0.45)
    found = table(Held(probability, mask), Held(probability))
    assert tuple(found.index) == THRESHOLDS
    assert found.loc[0.4, "dice"] == pytest.approx(20 / 26)  # nodule and vessel
    assert found.loc[0.5, "dice"] == found.loc[0.7, "dice"] == 1
    assert found.loc[0.8, "dice"] == 0
    # healthy: 16 voxels of 2 mm3, then 10, then none; the nodule scan's own are not counted
    assert found["healthy_fp_volume_mm3"].loc[[0.4, 0.5, 0.8]].tolist() == [32, 20, 0]


def test_the_best_of_equals_is_the_highest():
    probability, mask = cube(0.75, 0.45)
    found = table(Held(probability, mask))
    assert choose_threshold(found.reset_index()) == 0.7
    assert found["healthy_fp_volume_mm3"].isna().all()


def test_case_with_all_nodules_ignored_counts_neither_as_nodule_nor_as_healthy():
    probability, mask = cube(0.75, 0.45)
    with pytest.raises(UserError, match="no validation case holds a nodule"):
        table(Held(probability), Held(probability, np.where(mask > 0, 255, 0).astype(np.uint8)))
    ignored = Held(probability, np.where(mask > 0, 255, 0).astype(np.uint8))
    found = table(Held(probability, mask), ignored)
    assert np.isnan(found.loc[0.4, "healthy_fp_volume_mm3"])
    assert found.loc[0.4, "dice"] == table(Held(probability, mask)).loc[0.4, "dice"]


def test_a_mean_over_cases_decides():
    sure, mask = cube(0.92, 0.01)
    unsure, _ = cube(0.35, 0.01)
    assert choose_threshold(table(Held(sure, mask), Held(unsure, mask)).reset_index()) == 0.3


def test_a_point_of_dice_is_given_for_fewer_false_positives_and_no_more():
    for behind, chosen in ((0.009, 0.7), (0.011, 0.4)):
        dice = [0.45, 0.5, 0.5 - behind, 0.45]
        table = pd.DataFrame({"threshold": [0.3, 0.4, 0.7, 0.9], "dice": dice})
        assert choose_threshold(table) == chosen
