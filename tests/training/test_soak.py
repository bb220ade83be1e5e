"""The same bits whatever loads the data, and a long run that grows by nothing."""

import gc
import os
from pathlib import Path

import pytest
import torch
from same_bits import same

from semilung.runs.checkpoint import load_checkpoint
from semilung.training import loop, train

MIXTURE = {
    "supervised": {},
    "mean_teacher": {},
    "copy_paste": {},
    "pseudo_label": {},
    "nodule_insertion": {},
    "mil": {},
}


@pytest.mark.slow
def test_a_mixture_ends_with_the_same_bits_whatever_loads_its_data(tiny, tmp_path):
    states = []
    for workers in (0, 1, 2):
        config = tiny(workers=workers, max_steps=2, validate_every=0)
        config.strategies = MIXTURE
        config.data.bag_size = 2
        train(config, tmp_path / str(workers))
        states.append(load_checkpoint(tmp_path / str(workers) / "last.pt"))
    assert states[0]["step"] == 2
    assert same(states[0], states[1])
    assert same(states[0], states[2])


def held() -> dict[str, int]:
    """What a process holds, as counts that do not flicker."""
    gc.collect()
    objects = gc.get_objects()
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "tensors": sum(1 for o in objects if type(o) in (torch.Tensor, torch.nn.Parameter)),
        "objects": len(objects),
        "threads": len(list(Path("/proc/self/task").iterdir())),
    }


def resident_mib() -> float:
    """Memory that the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize(
    ("steps", "rss_mib"), [(40, None), pytest.param(5000, 30.0, marks=pytest.mark.slow)]
)
def test_a_long_run_grows_by_nothing(tiny, tmp_path, monkeypatch, steps, rss_mib):
    optimize, seen = loop._optimize, {}

    def watched(training, batch):
        if training.step in (steps // 3, steps - 1):
            seen[training.step] = held(), resident_mib()
        return optimize(training, batch)

    monkeypatch.setattr(loop, "_optimize", watched)
    rhythm = {"validate_every": steps // 5, "checkpoint_every": steps // 10, "log_every": 10}
    config = tiny(max_steps=steps, **rhythm)
    config.data.crop = (8, 8, 8)
    config.data.batch = {"labelled": 1, "unlabelled": 1, "healthy": 1, "weak": 0}
    train(config, tmp_path / "run")
    (early, early_mib), (late, late_mib) = seen.values()
    assert late["files"] <= early["files"]
    assert late["threads"] <= early["threads"]
    assert late["tensors"] <= early["tensors"] + 5
    assert late["objects"] <= early["objects"] + 500
    if rss_mib is not None:
        assert late_mib <= early_mib + rss_mib
