"""Hard negatives: the voxels of healthy scans in which the present net sees nodules."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from same_bits import same

from semilung.data import open_cohort
from semilung.inference.centre_findings import centre_values
from semilung.inference.outputs import foreground_probability
from semilung.runs.checkpoint import load_checkpoint
from semilung.tasks import build_tasks
from semilung.training import hard_negatives, loop, train
from semilung.training.hard_negatives import (
    VOXELS,
    finding_heads,
    most_probable,
    search_hard_negatives,
)
from semilung.training.ranks import Team
from semilung.types import UserError


def mining(tiny, **trainer):
    config = tiny(mine_every=2, validate_every=0, **trainer)
    return replace(config, data=replace(config.data, hard_negatives=0.5))


def test_most_probable_gives_one_voxel_a_block_and_those_of_each_head():
    heads = {"logits": foreground_probability, "centres": centre_values}
    mask, centres = torch.zeros(1, 40, 33, 32), torch.zeros(5, 20, 17, 16)
    mask[0, 3, 4, 5], mask[0, 4, 4, 5], mask[0, 39, 32, 31] = 0.9, 0.8, 0.3
    centres[0, 10, 16, 2] = 0.95
    centres[1:] = 7.0  # offsets and diameters are no probabilities
    voxels, highest = most_probable({"logits": mask, "centres": centres}, heads, mask.shape[1:])
    assert voxels == [[3, 4, 5], [39, 32, 31], [21, 32, 5]]
    assert highest == pytest.approx(0.95)


def test_finding_heads_are_those_of_tasks_that_find_nodules():
    tasks = build_tasks({"segmentation": {}, "detection": {}, "characterization": {}})
    assert set(finding_heads(tasks)) == {"logits", "centres"}
    assert finding_heads(build_tasks({"characterization": {}})) == {}


def test_most_probable_of_many_blocks_keeps_the_highest():
    probability = torch.rand(1, 80, 80, 80, generator=torch.Generator().manual_seed(0))
    voxels, _ = most_probable(
        {"logits": probability}, {"logits": foreground_probability}, probability.shape[1:]
    )
    values = [float(probability[0][tuple(voxel)]) for voxel in voxels]
    assert len(values) == VOXELS
    assert values == sorted(values, reverse=True)
    assert values[0] == float(probability.max())


class Bright(torch.nn.Module):
    """Sees nodules in bright voxels."""

    def forward(self, x):
        return {"logits": 20 * x - 10}


def test_search_finds_the_bright_voxels_of_the_scans_that_are_due(tiny, monkeypatch):
    monkeypatch.setattr(hard_negatives, "SCANS", 2)
    config = tiny()
    cases = open_cohort(config.data, seed=0).train("healthy")
    team, tasks = Team(Fabric(accelerator="cpu")), build_tasks()
    searched = Counter()
    for search in range(len(cases)):
        voxels, highest = search_hard_negatives(Bright(), cases, config, tasks, team, search=search)
        searched.update(voxels.keys())
        assert 0 < highest <= 1
    assert set(searched) == {case.name for case in cases}
    assert max(searched.values()) <= 2 + min(searched.values())
    case = next(case for case in cases if case.name in voxels)
    hu = case.read("image")
    assert hu[tuple(voxels[case.name][0])] > np.percentile(hu, 99)


def test_train_searches_at_intervals_and_draws_what_it_found(tiny, tmp_path, monkeypatch):
    given = []
    build = loop.build_loader

    def recorded(*arguments, **keywords):
        given.append((keywords["start_step"], keywords["max_steps"], keywords["hard_negatives"]))
        return build(*arguments, **{**keywords, "hard_negatives": dict(keywords["hard_negatives"])})

    monkeypatch.setattr(loop, "build_loader", recorded)
    train(mining(tiny, max_steps=5), tmp_path / "run")
    assert [(start, end) for start, end, _ in given] == [(0, 2), (2, 4), (4, 5)]
    state = load_checkpoint(tmp_path / "run/last.pt")["hard_negatives"]
    assert state
    assert all(len(voxel) == 3 for voxels in state.values() for voxel in voxels)
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows if "hard_negatives/probability" in row] == ["3", "5"]


def test_train_without_hard_negatives_searches_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "search_hard_negatives", None)
    train(tiny(mine_every=2), tmp_path / "run")
    assert load_checkpoint(tmp_path / "run/last.pt")["hard_negatives"] == {}


@pytest.mark.parametrize("cut", [3, 4, 5])
def test_a_run_with_hard_negatives_resumes_with_the_same_bits(tiny, tmp_path, monkeypatch, cut):
    config = mining(tiny, checkpoint_every=1)
    train(config, tmp_path / "whole")
    optimize = loop._optimize

    def failing(training, batch):
        if training.step == cut:
            raise RuntimeError("power cut")
        return optimize(training, batch)

    monkeypatch.setattr(loop, "_optimize", failing)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path / "cut")
    monkeypatch.undo()
    assert train(config, tmp_path / "cut", resume=True).finished
    whole, again = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    assert same(whole, again)
    one, two = (
        [line for line in (tmp_path / name / "metrics.csv").open() if ",time/" not in line]
        for name in ("whole", "cut")
    )
    assert one == two


def test_a_run_whose_hard_negatives_are_damaged_is_not_resumed(tiny, tmp_path):
    config = mining(tiny, max_steps=3)
    train(config, tmp_path / "run")
    path = tmp_path / "run/last.pt"
    for damage in (5, {"a": 5}, {"a": [[1, 2]]}, {"a": [["x", 1, 2]]}):
        torch.save({**load_checkpoint(path), "hard_negatives": damage}, path)
        with pytest.raises(UserError, match="does not fit the run's own config"):
            train(config, tmp_path / "run", resume=True)
