from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from semilung.data.cache.open_cohort import open_cohort
from semilung.data.data_config import AugmentConfig
from semilung.data.loading.bags import bag_windows
from semilung.data.loading.loader import StepDataset

NO_FOREGROUND = np.empty((0, 3), np.int16)


def covered(shape, size, windows):
    seen = np.zeros(shape, bool)
    for x, y, z in windows:
        seen[x : x + size[0], y : y + size[1], z : z + size[2]] = True
    return seen


def windows_of(shape, size, limit=1000, foreground=NO_FOREGROUND, seed=0):
    rng = np.random.default_rng(seed)
    return bag_windows(rng, shape, size, limit=limit, foreground=foreground)


@pytest.mark.parametrize(("shape", "count"), [((51, 51, 51), 8), ((64, 32, 33), 4)])
def test_bag_windows_cover_the_scan(shape, count):
    windows = windows_of(shape, (32, 32, 32))
    assert len(windows) == count
    assert covered(shape, (32, 32, 32), windows).all()
    assert windows.min() == 0
    assert (windows.max(axis=0) + 32 == shape).all()


def test_bag_windows_scan_smaller_than_a_window_is_one_instance():
    assert windows_of((10, 40, 32), (32, 32, 32)).tolist() == [[-11, 0, 0], [-11, 8, 0]]


def test_bag_windows_above_the_limit_keep_a_nodule():
    nodule = np.array([[100, 20, 70]], np.int16)
    for seed in range(20):
        windows = windows_of((128, 128, 128), (32, 32, 32), 3, nodule, seed)
        assert len({tuple(w) for w in windows.tolist()}) == 3
        assert ((windows <= nodule) & (nodule < windows + 32)).all(axis=1).any()
    chosen = {tuple(map(tuple, windows_of((128,) * 3, (32,) * 3, 3, seed=s))) for s in range(5)}
    assert len(chosen) == 5  # which ones stay is drawn


def test_step_dataset_bags_are_padded_with_a_mask_and_pure(data_config):
    config = replace(data_config, crop=(12, 12, 12), bags=2, bag_size=5)
    cohort = open_cohort(config, seed=0)
    streams = {stream: cohort.train(stream) for stream in ("labelled", "healthy")}

    def batch(step):
        views = {"labelled": ("bag", "weak"), "healthy": ("bag",)}
        fields = ("mask", "bag_label")
        made = StepDataset(streams, config, AugmentConfig(), seed=3, views=views, fields=fields)
        return made[step]

    first = batch(4)
    assert first["labelled"]["bag"].shape == (2, 5, 1, 12, 12, 12)
    assert first["labelled"]["weak"].shape[0] == config.batch["labelled"]
    assert first["labelled"]["bag_mask"].all()
    assert first["healthy"]["bag"].shape[0] == min(2, config.batch["healthy"])
    assert "weak" not in first["healthy"]
    assert first["healthy"]["bag_label"].tolist() == [0] * config.batch["healthy"]
    assert torch.equal(first["labelled"]["bag"], batch(4)["labelled"]["bag"])
    assert not torch.equal(first["labelled"]["bag"], batch(5)["labelled"]["bag"])


def test_step_dataset_scan_drawn_again_is_another_bag(data_config):
    config = replace(
        data_config, crop=(6, 6, 6), batch={**data_config.batch, "healthy": 1}, bag_size=3
    )
    one = {"healthy": open_cohort(config, seed=0).train("healthy")[:1]}
    dataset = StepDataset(one, config, AugmentConfig(), seed=3, views=("bag",), fields=())
    assert not torch.equal(dataset[0]["healthy"]["bag"], dataset[1]["healthy"]["bag"])
