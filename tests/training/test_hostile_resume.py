"""Checkpoints whose model or optimizer state does not fit the run: refused before training."""

import time

import pytest
import torch
from tiny_runs import tiny_config

from semilung.runs import load_predictor
from semilung.runs.checkpoint import load_checkpoint, save_checkpoint
from semilung.training import train
from semilung.types import UserError


@pytest.fixture
def run(phantom, tmp_path):
    train(tiny_config(phantom, max_steps=2, validate_every=0), tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["optimizer"].update(state={}),
        lambda state: state["optimizer"]["state"][0].pop("exp_avg"),
        lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(3)),
        lambda state: state["optimizer"]["param_groups"][0].pop("betas"),
        lambda state: state["optimizer"]["state"].update({10**6: {}}),
        lambda state: state["optimizer"].pop("state"),
    ],
)
def test_optimizer_state_that_does_not_fit_is_refused_at_resume(run, phantom, change):
    state = load_checkpoint(run / "last.pt")
    change(state)
    del state["format"]
    save_checkpoint(run / "last.pt", state)
    before = (run / "last.pt").read_bytes()
    with pytest.raises(UserError, match=r"last\.pt does not fit the run's own config"):
        train(tiny_config(phantom, max_steps=2, validate_every=0), run, resume=True)
    assert (run / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    "options", [{"depth": 10**7}, {"widths": [4000, 4000]}, {"widths": [4, 8] * 50}, {"depth": 200}]
)
def test_model_larger_than_its_weights_is_refused_at_once(run, options):
    state = load_checkpoint(run / "last.pt")
    state["model"] |= options
    del state["format"]
    save_checkpoint(run / "last.pt", state)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"(depth|widths)"):
        load_predictor(run)
    assert time.monotonic() - began < 5
