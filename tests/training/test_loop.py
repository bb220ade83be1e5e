"""The loop: it learns, logs, resumes with the same bits, and stops cleanly."""

import math
import os
import signal
from dataclasses import replace

import pandas as pd
import pytest
from same_bits import same

from semilung.data import open_cohort
from semilung.data.loader import StepDataset
from semilung.training import build_learner, loop, train
from semilung.training.checkpoint import load_checkpoint
from semilung.types import UserError


def at_step(monkeypatch, step, act):
    """Call `act` after the optimizer step that makes `step` steps."""
    optimize = loop._optimize

    def optimize_then(training, batch):
        figures = optimize(training, batch)
        if training.step + 1 == step:
            act()
        return figures

    monkeypatch.setattr(loop, "_optimize", optimize_then)


def fail():
    raise RuntimeError("power cut")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_ends_with_the_same_bits(tiny, tmp_path, monkeypatch, workers):
    train(tiny(), tmp_path / "whole")
    at_step(monkeypatch, 5, fail)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tiny(workers=workers), tmp_path / "cut")
    assert load_checkpoint(tmp_path / "cut/last.pt")["step"] == 4
    monkeypatch.undo()
    outcome = train(tiny(workers=workers), tmp_path / "cut", resume=True)
    assert outcome.finished
    whole, cut = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    assert whole["step"] == 6
    assert same(whole, cut)
    assert (tmp_path / "whole/metrics.csv").exists()
    one, two = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "cut"))
    kept = ~one["name"].str.startswith("time/")
    pd.testing.assert_frame_equal(one[kept], two[kept])


def test_another_seed_gives_other_bits(tiny, tmp_path):
    states = []
    for seed in (0, 1):
        train(tiny(seed=seed, max_steps=1), tmp_path / str(seed))
        states.append(load_checkpoint(tmp_path / str(seed) / "last.pt")["learner"])
    assert not same(*states)


def test_ctrl_c_saves_between_steps_and_can_go_on(tiny, tmp_path, monkeypatch):
    at_step(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGINT))
    outcome = train(tiny(), tmp_path / "run")
    assert (outcome.finished, outcome.steps) == (False, 3)
    assert load_checkpoint(tmp_path / "run/last.pt")["step"] == 3
    monkeypatch.undo()
    assert train(tiny(), tmp_path / "run", resume=True).finished
    train(tiny(), tmp_path / "whole")
    whole, cut = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "run"))
    assert same(whole, cut)


def test_every_term_and_weight_is_logged(tiny, tmp_path):
    train(tiny(), tmp_path / "run")
    rows = pd.read_csv(tmp_path / "run/metrics.csv")
    names = set(rows["name"])
    for term in ("supervised/labelled", "supervised/healthy", "mean_teacher/consistency"):
        assert {f"terms/{term}", f"weights/{term}"} <= names
    assert {"loss", "lr", "time/waiting_share", "val/dice", "val/healthy_fp_mm3"} <= names
    wide = rows.pivot_table(index="step", columns="name", values="value")
    terms = [n.removeprefix("terms/") for n in names if n.startswith("terms/")]
    total = sum(wide[f"terms/{term}"] * wide[f"weights/{term}"] for term in terms)
    assert total.to_numpy() == pytest.approx(wide["loss"].to_numpy(), rel=1e-5)
    assert list(tmp_path.glob("run/events.out.tfevents.*"))


def test_a_loss_that_is_not_finite_names_the_cases(tiny, tmp_path, monkeypatch):
    config = tiny()
    config.strategies["supervised"] = {"ce_weight": math.inf}
    with pytest.raises(UserError, match=r"not finite at step 0.*labelled.*data check"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run/last.pt").exists()


def test_a_run_is_not_written_over(tiny, tmp_path):
    train(tiny(max_steps=1), tmp_path / "run")
    kept = (tmp_path / "run/last.pt").read_bytes()
    with pytest.raises(UserError, match="holds a run already"):
        train(tiny(max_steps=1), tmp_path / "run")
    assert (tmp_path / "run/last.pt").read_bytes() == kept


def test_a_stream_that_is_missing_is_told_before_training(tiny, tmp_path):
    config = tiny()
    config.data.batch["unlabelled"] = 0
    with pytest.raises(UserError, match=r"mean_teacher.*unlabelled"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_lowers_the_loss_on_crops_it_has_not_seen(tiny, tmp_path):
    config = tiny(max_steps=80, validate_every=0, log_every=40)
    config.data = replace(config.data, foreground=1.0)
    config.model["prior"] = 0.1
    config.strategies = {"supervised": {"dice_weight": 0.0}}
    streams = {"labelled": open_cohort(config.data, seed=0).train("labelled")}
    batch = StepDataset(streams, config.data, config.augment, seed=0)[1000]
    learner = build_learner(config).eval()
    before = learner(batch, 1.0)["supervised/labelled"].value
    train(config, tmp_path / "run")
    learner.load_state_dict(load_checkpoint(tmp_path / "run/last.pt")["learner"])
    assert learner(batch, 1.0)["supervised/labelled"].value < 0.7 * before
