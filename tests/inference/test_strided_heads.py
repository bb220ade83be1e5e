"""Prediction of heads at a stride of the image: whole, in parts, and by windows."""

import numpy as np
import pytest
import torch
from torch import nn

from semilung.inference.outputs import at_stride
from semilung.inference.sliding_window import predict_maps
from semilung.inference.whole_volume import predict_whole
from semilung.models import Footprint

STRIDE = 2


class Patches(nn.Module):
    """The mean of each patch, and the image itself."""

    def forward(self, x):
        *_, X, Y, Z = x.shape
        far_ends = [side for n in (Z, Y, X) for side in (0, -n % STRIDE)]
        padded = nn.functional.pad(x, far_ends, mode="replicate")
        return {"logits": x, "centres": nn.functional.avg_pool3d(padded, STRIDE)}


def identity(x):
    return x.float()


OUTPUTS = {"logits": identity, "centres": at_stride(STRIDE)(lambda x: x.float())}
SHAPE = (21, 16, 13)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random(SHAPE).astype(np.float32)


def expected(image):
    with torch.no_grad():
        outputs = Patches()(torch.from_numpy(image)[None, None])
    return {head: values[0] for head, values in outputs.items()}


@pytest.mark.parametrize("memory", [1e-3, 1.0])
def test_predict_whole_of_a_strided_head_in_parts_equals_one_pass(image, memory):
    footprint = Footprint(halo=2, multiple=2, bytes_per_voxel=1000)
    maps = predict_whole(
        [Patches()], image, outputs=OUTPUTS, footprint=footprint, memory_gib=memory
    )
    assert maps["centres"].shape == (1, 11, 8, 7)
    for head, values in expected(image).items():
        torch.testing.assert_close(maps[head], values)


@pytest.mark.parametrize("window", [(8, 8, 8), (7, 16, 5), (64, 64, 64)])
def test_predict_maps_of_a_strided_head_by_windows_keeps_its_places(image, window):
    maps = predict_maps(
        Patches(), torch.from_numpy(image), outputs=OUTPUTS, window=window, overlap=0.4
    )
    assert maps["centres"].shape == (1, 11, 8, 7)
    for head, values in expected(image).items():
        inner = values[:, :10, :, :6]  # at its far ends the volume is mirrored, not repeated
        torch.testing.assert_close(maps[head][:, :10, :, :6], inner)


def test_predict_whole_of_a_strided_head_is_0_far_from_the_lungs():
    image = np.ones((160, 16, 16), np.float32)
    lungs = np.zeros((20, 2, 2), bool)
    lungs[0] = True
    maps = predict_whole(
        [Patches()],
        image,
        outputs=OUTPUTS,
        footprint=Footprint(halo=2, multiple=2, bytes_per_voxel=4),
        memory_gib=1.0,
        lungs=lungs,
    )
    kept = maps["logits"][0, :, 0, 0].bool()
    assert 0 < kept.sum() < 160
    assert torch.equal(maps["centres"][0, :, 0, 0].bool(), kept[::STRIDE])
