"""Runs that are killed at any moment go on, and end as if nothing had happened."""

import random
import time

import pandas as pd
import pytest
from killed_runs import WINDOWS, hung, kill, start, wait_for
from same_bits import same
from tiny_runs import tiny_config

from semilung.runs.checkpoint import load_checkpoint

STEPS = {"max_steps": 9, "checkpoint_every": 2, "validate_every": 3}


def finish(config, folder):
    process = start(config, folder)
    process.join()
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def whole(phantom, tmp_path_factory):
    """An uninterrupted run, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("kills") / "whole"
    finish(tiny_config(phantom, **STEPS), folder)  # the forks' parent starts, the cache fills
    began = time.monotonic()
    finish(tiny_config(phantom, **STEPS), folder.with_name("again"))
    return folder, time.monotonic() - began


def require_equal(whole, cut):
    """Checkpoints to the bit, metrics but for their times; and nothing else is left."""
    for name in ("last.pt", "best.pt"):
        assert same(load_checkpoint(whole / name), load_checkpoint(cut / name)), name
    one, two = (pd.read_csv(folder / "metrics.csv") for folder in (whole, cut))
    timed = one["name"].str.startswith("time/")
    pd.testing.assert_frame_equal(one[~timed], two[~timed])
    files = [
        {p.name for p in folder.iterdir() if not p.name.startswith("events")}
        for folder in (whole, cut)
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("window", WINDOWS)
def test_killed_while_a_checkpoint_is_written(tiny, whole, tmp_path, window):
    cut = tmp_path / "cut"
    process = start(tiny(**STEPS), cut, window, 3)
    wait_for(hung(cut), process)
    kill(process)
    assert load_checkpoint(cut / "last.pt")["step"] == (6 if window == "renamed" else 4)
    assert len(list(cut.glob(".last.pt.*"))) == (window != "renamed")
    finish(tiny(**STEPS), cut)
    require_equal(whole[0], cut)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tiny, whole, tmp_path, kills):
    moments, number, done = random.Random(0), 0, 0
    while done < kills:
        cut = tmp_path / f"cut{number}"
        process = start(tiny(**STEPS), cut)
        process.join(moments.uniform(0.0, whole[1]))
        if process.exitcode is None:
            kill(process)
            done += 1
        else:
            assert process.exitcode == 0
            require_equal(whole[0], cut)
            number += 1
    finish(tiny(**STEPS), cut)
    require_equal(whole[0], cut)
