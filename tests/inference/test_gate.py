"""The mask only where nodules are detected."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from semilung.data import DataConfig
from semilung.data.io.volume import Volume
from semilung.inference import InferenceConfig, Predictor
from semilung.inference.centre_findings import centre_values
from semilung.inference.gate import MARGIN_MM, REACH, gated
from semilung.inference.outputs import foreground_probability

CONFIG = DataConfig(spacing_mm=(1.0, 1.0, 1.0), crop_to_lungs=False)
HEADS = {"logits": foreground_probability, "centres": centre_values}


def one_centre(shape, voxel, probability, diameter_mm):
    centres = torch.zeros(5, *shape)
    centres[(0, *voxel)] = probability
    centres[4] = float(np.log(diameter_mm))
    return centres


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 0.7, 2.0)])
def test_gated_keeps_the_probability_within_reach_of_a_centre(spacing_mm):
    centres = one_centre((20, 20, 20), (10, 9, 8), 0.6, 8.0)
    probability = torch.full((1, 40, 40, 40), 0.7)
    mask = gated(probability, centres, spacing_mm, least=0.5)[0]
    place = (np.array([10, 9, 8]) + 0.5) * 2 - 0.5
    offsets = (np.moveaxis(np.indices((40, 40, 40)), 0, -1) - place) * spacing_mm
    near = np.linalg.norm(offsets, axis=-1) <= REACH * 8.0 + MARGIN_MM
    np.testing.assert_array_equal(mask.numpy(), np.where(near, np.float32(0.7), 0))


def test_gated_ignores_centres_below_the_least_probability():
    probability = torch.ones(1, 40, 40, 40)
    centres = one_centre((20, 20, 20), (10, 9, 8), 0.6, 8.0)
    assert gated(probability, centres, (1, 1, 1), least=0.6).any()
    assert not gated(probability, centres, (1, 1, 1), least=0.61).any()


class TwoBright(nn.Module):
    """Two bright balls are foreground, and one of them is detected."""

    def forward(self, x):
        centres = torch.zeros(len(x), 5, *(n // 2 for n in x.shape[2:]))
        centres[:, 0] = -9
        centres[:, 0, 6, 6, 6] = 9
        return {"logits": 50 * (x - 0.5), "centres": centres}


@pytest.fixture
def scan():
    hu = np.full((48, 48, 48), -900, np.int16)
    for centre in (12, 36):
        ball = ((np.indices(hu.shape) - centre) ** 2).sum(axis=0) <= 16
        hu[ball] = 100
    return Volume(hu, np.eye(4))


def test_predictor_with_a_gate_drops_what_is_not_detected(scan):
    ungated = Predictor([TwoBright()], InferenceConfig(window=(48, 48, 48)), CONFIG, HEADS)
    predictor = replace(ungated, inference=replace(ungated.inference, gate=0.4))
    every = ungated.volume_maps(scan, "scan", source="scan")
    detected = predictor.volume_maps(scan, "scan", source="scan")
    assert predictor.segment_scan(detected)[0].data[12, 12, 12] == 1
    assert predictor.segment_scan(detected)[0].data[36, 36, 36] == 0
    assert ungated.segment_scan(every)[0].data[36, 36, 36] == 1
    torch.testing.assert_close(detected.maps["centres"], every.maps["centres"])
