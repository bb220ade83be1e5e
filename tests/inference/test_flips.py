"""Predictions averaged over mirrored images (`inference.flips`)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semilung.data import DataConfig
from semilung.inference import InferenceConfig, Predictor
from semilung.inference.net_ensemble import FLIPS, WindowNets
from semilung.inference.outputs import at_stride
from semilung.models import build_model
from semilung.strategies.core.centre_maps import CENTRES, SIZE
from semilung.strategies.core.nodule_pooling import DESCRIPTIONS
from semilung.tasks import build_tasks, heads_of_tasks

TASKS = build_tasks({"segmentation": {}, "detection": {}, "characterization": {}})


def predictor(seed=0, **inference):
    """A random net with the heads of all tasks."""
    torch.manual_seed(seed)
    heads = {CENTRES: SIZE, DESCRIPTIONS: (8, 2)}
    net = build_model("reversible_unet", {"widths": (4, 8), "depth": 1}, heads=heads)
    with torch.no_grad():
        for parameter in net.heads.parameters():
            parameter.normal_()
    outputs = heads_of_tasks(TASKS.values())
    return Predictor([net], InferenceConfig(**inference), DataConfig(), outputs)


def volume(*shape):
    return np.random.default_rng(1).integers(-1000, 400, shape).astype(np.int16)


def turned(maps, axes):
    """The maps of a mirrored image where the image itself has them, offsets turned by hand."""
    flipped = {head: values.flip([1 + axis for axis in axes]) for head, values in maps.items()}
    for axis in axes:
        flipped[CENTRES][1 + axis] *= -1
    return flipped


@pytest.mark.parametrize("window", [None, (16, 12, 8)])
@pytest.mark.parametrize("axes", [(0,), (2,), (0, 1, 2)])
def test_flips_of_a_mirrored_image_give_the_mirrored_maps(window, axes):
    hu = volume(16, 12, 8)
    mirrored = np.ascontiguousarray(np.flip(hu, axes))
    once, averaged = predictor(window=window), predictor(window=window, flips=True)
    expected = turned(averaged.maps(hu), axes)
    for head, values in averaged.maps(mirrored).items():
        torch.testing.assert_close(values, expected[head], atol=1e-5, rtol=1e-4)
    single = turned(once.maps(hu), axes)
    for head, values in once.maps(mirrored).items():
        assert not torch.allclose(values, single[head], atol=1e-4)


def test_flips_are_the_mean_of_the_activated_maps_of_8_images():
    hu = volume(8, 8, 8)
    once = predictor()
    every = [turned(once.maps(np.ascontiguousarray(np.flip(hu, axes))), axes) for axes in FLIPS]
    assert len(every) == len(set(FLIPS)) == 8
    for head, values in predictor(flips=True).maps(hu).items():
        mean = torch.stack([maps[head] for maps in every]).mean(0)
        torch.testing.assert_close(values, mean, atol=1e-5, rtol=1e-4)


class Patches(nn.Module):
    """The image, and its means over patches of 2 voxels a side."""

    def forward(self, x):
        far_ends = [side for n in x.shape[:1:-1] for side in (0, -n % 2)]
        return {"image": x, "patches": F.avg_pool3d(F.pad(x, far_ends, mode="replicate"), 2)}


def test_flips_of_odd_sizes_keep_every_value_in_its_place():
    image = np.random.default_rng(0).random((1, 1, 13, 8, 9)).astype(np.float32)
    outputs = {"image": Tensor.float, "patches": at_stride(2)(lambda x: x.float())}
    once, averaged = (
        WindowNets([Patches()], outputs=outputs, precision="32-true", flips=flips)(image)
        for flips in (False, True)
    )
    assert averaged["patches"].shape == (1, 1, 7, 4, 5)
    for head, values in averaged.items():
        torch.testing.assert_close(values, once[head])


def test_several_nets_average_the_evidence_of_characterization():
    hu, first, second = volume(8, 8, 8), predictor(0), predictor(1)
    both = replace(first, models=[*first.models, *second.models])
    maps = [each.maps(hu)[DESCRIPTIONS] for each in (first, second)]
    torch.testing.assert_close(both.maps(hu)[DESCRIPTIONS], (maps[0] + maps[1]) / 2)
    assert not torch.allclose(maps[0], maps[1], atol=1e-2)
