"""What unlabelled scans would be labelled as: every figure by hand."""

import numpy as np
import pytest
import torch
from audit_cases import prepared
from torch import nn

from semilung.data.data_config import DataConfig
from semilung.inference import InferenceConfig, Predictor
from semilung.training.audits import audit_pseudo_labels
from semilung.training.audits.pseudo_label_quality import MOST_SCANS, choose_scans

WINDOW = (-1000.0, 0.0)
CONFIG = InferenceConfig(window=(8, 8, 8))


class Above(nn.Module):
    """Foreground where the image is above a level, with logits of a given size."""

    def __init__(self, level, size=20.0):
        super().__init__()
        self.level, self.size = level, size
        self.kept = nn.Parameter(torch.zeros(()))  # predictions run on a parameter's device

    def forward(self, x):
        return {"logits": self.size * torch.where(x > self.level, 1.0, -1.0)}


def scan(folder, name, *, blobs=1, role="unlabelled", mask=None):
    """8 mm of lung with bright cubes of 2 mm along the diagonal: 8 of 512 voxels each."""
    hu = np.full((8, 8, 8), -900.0)
    for i in range(blobs):
        hu[3 * i : 3 * i + 2, 3 * i : 3 * i + 2, 3 * i : 3 * i + 2] = -200
    return prepared(folder, name, hu, role, mask=mask)


def box(x):
    """A mask of `x` by 2 by 2 voxels at the corner."""
    mask = np.zeros((8, 8, 8))
    mask[:x, :2, :2] = 1
    return mask


def audit(net, other, unlabelled, labelled=()):
    predictor, second = (
        n and Predictor([n], CONFIG, DataConfig(window_hu=WINDOW)) for n in (net, other)
    )
    return audit_pseudo_labels(predictor, second, unlabelled, labelled)


def test_metrics_equal_those_by_hand(tmp_path):
    scans = [scan(tmp_path, "one"), scan(tmp_path, "two", blobs=2)]
    known = [scan(tmp_path, "known", role="labelled", mask=box(4))]
    found = audit(Above(0.5), Above(0.5), scans, known)
    assert found.status == "ok"
    assert found.metrics == pytest.approx(
        {
            "confident_share": 1.0,
            "confident_foreground_share": 1.0,
            "foreground_share": 12 / 512,
            "components": 1.5,
            "agreement": 1.0,
            "labelled_foreground_share": 16 / 512,
            "scans": 2,
        }
    )


def test_unsure_voxels_are_not_confident(tmp_path):
    """Logits of 2 are probabilities of 0.88, below 0.9; logits of 2.5 are 0.92."""
    scans = [scan(tmp_path, "one")]
    assert audit(Above(0.5, 2.0), None, scans).metrics["confident_share"] == 0
    assert audit(Above(0.5, 2.5), None, scans).metrics["confident_share"] == 1


def test_hidden_masks_score_pseudo_labels_and_can_warn(tmp_path):
    """16 voxels of which 8 are predicted: 2 * 8 / (8 + 16)."""
    half = [scan(tmp_path, "half", role="labelled", mask=box(4))]
    assert audit(Above(0.5), None, half).metrics["hidden_dice"] == pytest.approx(2 / 3)
    elsewhere = [scan(tmp_path, "else", role="labelled", mask=box(4)[::-1])]
    found = audit(Above(0.5), None, elsewhere)
    assert found.metrics["hidden_dice"] == 0
    assert "mostly wrong" in found.summary
    assert "Do not train on them" in found.advice


def test_collapse_and_flood_are_reported(tmp_path):
    scans = [scan(tmp_path, "one")]
    known = [scan(tmp_path, "known", role="labelled", mask=box(2))]
    silent = audit(Above(2.0), None, scans, known)
    assert silent.status == "warning"
    assert "collapsed to background" in silent.summary
    flood = audit(Above(-1.0), None, scans, known)
    assert "flood" in flood.summary
    assert audit(Above(0.5), None, scans, known).status == "ok"


def test_nets_that_disagree_still_move(tmp_path):
    scans = [scan(tmp_path, "one"), scan(tmp_path, "two", blobs=2)]
    for net, other in ((Above(0.5), Above(2.0)), (Above(2.0), Above(0.5))):
        found = audit(net, other, scans)
        assert found.metrics["agreement"] == 0
        assert "still move" in found.summary
    assert "agreement" not in audit(Above(2.0), Above(2.0), scans).metrics  # two empty ones


def test_a_bounded_choice_by_seed(tmp_path):
    scans = [scan(tmp_path, str(i)) for i in range(MOST_SCANS + 4)]
    chosen = choose_scans(scans, seed=0)
    assert len({item.name for item in chosen}) == MOST_SCANS
    assert chosen == choose_scans(scans, seed=0)
    assert chosen != choose_scans(scans, seed=1)


def test_large_scans_are_fewer_but_one_is_looked_at(tmp_path, monkeypatch):
    scans = [scan(tmp_path, str(i)) for i in range(5)]
    for voxels, number in ((100, 1), (512 * 3, 3)):
        monkeypatch.setattr("semilung.training.audits.pseudo_label_quality.MOST_VOXELS", voxels)
        assert len(choose_scans(scans, seed=0)) == number


def test_without_unlabelled_scans_there_is_nothing_to_score(tmp_path):
    assert audit(Above(0.5), None, []).status == "not applicable"
