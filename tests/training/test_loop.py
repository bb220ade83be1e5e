"""The loop: it learns, logs, resumes with the same bits, and stops cleanly."""

import math
import os
import signal
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.amp import MixedPrecision
from same_bits import same

from semilung.data import open_cohort
from semilung.data.cache.store import open_entry
from semilung.data.loading.loader import StepDataset
from semilung.exhaustion import explain_memory_errors
from semilung.runs.checkpoint import load_checkpoint
from semilung.signals import StopRequest
from semilung.strategies import Learner
from semilung.training import build_learner, loop, step_seconds, train
from semilung.training.cost import read_cost
from semilung.training.optim import unscale
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


def untimed_rows(path):
    return [line for line in path.read_bytes().splitlines(True) if b",time/" not in line]


def test_metrics_of_a_run_stopped_between_two_logged_points_are_the_same_bytes(
    tiny, tmp_path, monkeypatch
):
    config = tiny(max_steps=5, log_every=4)
    train(config, tmp_path / "whole")
    at_step(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert train(config, tmp_path / "cut").steps == 3
    monkeypatch.undo()
    assert train(config, tmp_path / "cut", resume=True).finished
    whole, cut = (untimed_rows(tmp_path / name / "metrics.csv") for name in ("whole", "cut"))
    assert b"4,loss," in b"".join(whole)
    assert whole == cut


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


def test_the_loaders_processes_leave_ctrl_c_to_the_training(capfd):
    with StopRequest() as interrupt:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(7 if interrupt.number else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert capfd.readouterr().out == ""
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.number
    assert "stopping after this step" in capfd.readouterr().out


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
    with pytest.raises(UserError, match=r"not finite .*at step 0.*labelled.*data check"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run/last.pt").exists()


def test_a_run_is_not_written_over(tiny, tmp_path):
    train(tiny(max_steps=1), tmp_path / "run")
    kept = (tmp_path / "run/last.pt").read_bytes()
    with pytest.raises(UserError, match="holds a run already"):
        train(tiny(max_steps=1), tmp_path / "run")
    assert (tmp_path / "run/last.pt").read_bytes() == kept


def test_a_stream_that_is_missing_is_reported_before_training(tiny, tmp_path):
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


def test_a_gradient_that_is_not_finite_reaches_no_weight(tiny, tmp_path, monkeypatch):
    config = tiny(max_steps=3, checkpoint_every=1)
    after = Learner.after_step

    def after_step(self, progress):
        after(self, progress)
        for parameter in self.student.parameters():
            parameter.register_hook(lambda grad: grad * math.nan)

    monkeypatch.setattr(Learner, "after_step", after_step)
    with pytest.raises(UserError, match="gradient's norm is nan at step 1"):
        train(config, tmp_path / "run")
    state = load_checkpoint(tmp_path / "run/last.pt")
    assert state["step"] == 1
    assert all(v.isfinite().all() for v in state["learner"].values())


def test_a_start_that_fails_leaves_no_run_behind(tiny, tmp_path):
    config = tiny()
    config.strategies["mean_teacher"] = {"wieght": 1}
    with pytest.raises(UserError, match="wieght"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_stopped_before_its_first_checkpoint_begins_anew(tiny, tmp_path, monkeypatch):
    at_step(monkeypatch, 1, fail)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tiny(), tmp_path / "cut")
    assert not (tmp_path / "cut/last.pt").exists()
    monkeypatch.undo()
    train(tiny(), tmp_path / "cut", resume=True)
    train(tiny(), tmp_path / "whole")
    whole, cut = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    assert same(whole, cut)


def test_resuming_a_finished_run_changes_nothing(tiny, tmp_path):
    train(tiny(max_steps=2), tmp_path / "run")
    kept = load_checkpoint(tmp_path / "run/last.pt")
    assert train(tiny(max_steps=2), tmp_path / "run", resume=True).finished
    assert same(kept, load_checkpoint(tmp_path / "run/last.pt"))


def test_resume_refuses_a_manifest_that_has_changed(tiny, tmp_path, phantom):
    table = pd.read_csv(phantom)
    for column in ("image", "mask", "anatomy"):
        table[column] = [
            str(phantom.parent / p) if isinstance(p, str) else p for p in table[column]
        ]
    manifest = tmp_path / "manifest.csv"
    table.to_csv(manifest, index=False)
    config = tiny(max_steps=2)
    config.data.manifest = str(manifest)
    train(config, tmp_path / "run")
    moved = table.index[table["split"] == "test"][0]
    table.loc[moved, "split"] = "train"
    table.to_csv(manifest, index=False)
    with pytest.raises(UserError, match=f"manifest has changed.*{table.loc[moved, 'case']}"):
        train(config, tmp_path / "run", resume=True)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_vanished_cache_file_is_one_clear_error(tiny, tmp_path, monkeypatch, workers):
    config = tiny(workers=workers)
    config.data.cache = str(tmp_path / "cache")
    set_up = loop.set_up

    def set_up_then_lose(*arguments, **options):
        training = set_up(*arguments, **options)
        for file in (tmp_path / "cache").rglob("*.b2nd"):
            file.write_bytes(b"damaged")
        open_entry.cache_clear()
        return training

    monkeypatch.setattr(loop, "set_up", set_up_then_lose)
    with pytest.raises(UserError, match="cached volume cannot be opened") as told:
        train(config, tmp_path / "run")
    assert "Traceback" not in str(told.value)


def test_init_starts_from_another_runs_predictor(tiny, tmp_path):
    train(tiny(max_steps=2), tmp_path / "first")
    config = tiny(max_steps=1)
    config.init = str(tmp_path / "first")
    started = build_learner(config).student.state_dict()
    teacher = load_checkpoint(tmp_path / "first/last.pt")["learner"]
    for name, value in started.items():
        assert torch.equal(value, teacher[f"teacher.net.{name}"])
    config.model["widths"] = [8, 16]
    with pytest.raises(UserError, match="do not fit"):
        build_learner(config)


def test_a_gradient_of_a_strategys_own_that_is_not_finite_reaches_no_weight(
    tiny, tmp_path, monkeypatch
):
    config = tiny(max_steps=1)
    config.strategies = {"supervised": {}, "adversarial": {}}

    def poison(fabric, optimizer):
        unscale(fabric, optimizer)
        assert len(optimizer.param_groups) == 2
        optimizer.param_groups[1]["params"][0].grad.fill_(math.nan)

    monkeypatch.setattr(loop, "unscale", poison)
    with pytest.raises(UserError, match=r"gradient's norm is [\d.]+, nan at step 0"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run/last.pt").exists()


@pytest.mark.slow
def test_half_precision_skips_overflows_but_not_for_ever(tiny, tmp_path, monkeypatch):
    seen = []

    def overflow(fabric, optimizer):
        fabric.strategy.precision.scaler.unscale_(optimizer.optimizer)
        seen.append(fabric.strategy.precision.scaler.get_scale())
        if len(seen) > 1:
            optimizer.param_groups[0]["params"][0].grad.fill_(math.inf)
            states = fabric.strategy.precision.scaler._per_optimizer_states
            for state in states[id(optimizer.optimizer)]["found_inf_per_device"].values():
                state.fill_(1.0)  # as unscaling would have found it

    config = tiny(max_steps=40, precision="16-mixed", validate_every=0)
    train(replace(config, trainer=replace(config.trainer, max_steps=2)), tmp_path / "two")
    monkeypatch.setattr(loop, "unscale", overflow)
    with pytest.raises(UserError, match="gradient's norm is inf at step 18"):
        train(config, tmp_path / "run")
    assert seen == [65536.0, *(65536.0 / 2**n for n in range(18))]
    state = load_checkpoint(tmp_path / "run/last.pt")
    assert all(v.isfinite().all() for v in state["learner"].values())


def test_half_precision_leaves_images_as_they_are(tiny, tmp_path, monkeypatch):
    kinds = set()
    forward = Learner.forward

    def look(learner, batch, progress):
        kinds.update(samples["weak"].dtype for samples in batch.values())
        return forward(learner, batch, progress)

    monkeypatch.setattr(Learner, "forward", look)
    train(tiny(max_steps=1, precision="bf16-mixed", validate_every=0), tmp_path / "run")
    assert kinds == {torch.float32}


def test_memory_that_ends_is_reported_with_a_remedy(tiny, tmp_path, monkeypatch):
    def end():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    at_step(monkeypatch, 1, end)
    with pytest.raises(UserError, match=r"Tried to allocate 2 GiB\); try a smaller data\.crop"):
        train(tiny(), tmp_path / "run")


def test_the_processors_memory_that_ends_is_reported_and_other_errors_are_not_hidden():
    with pytest.raises(UserError, match="out of memory"), explain_memory_errors("less"):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shape"), explain_memory_errors("less"):
        torch.zeros(2).reshape(3)


def test_clipping_and_stepping_under_a_scaler_unscale_once():
    """With a loss scale of 1024, a gradient of 1 moves the weight by the rate, not by a 1024th."""
    weight = torch.nn.Linear(1, 1, bias=False)
    fabric = Fabric(accelerator="cpu")
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    fabric._strategy.precision = MixedPrecision("16-mixed", device="cpu", scaler=scaler)
    fabric._precision = fabric._strategy.precision
    fabric.launch()
    inner = torch.optim.SGD(weight.parameters(), lr=1.0)
    module, optimizer = fabric.setup(weight, inner)
    before = weight.weight.item()
    fabric.backward(module.module.weight.sum())
    unscale(fabric, optimizer)
    assert weight.weight.grad.item() == pytest.approx(1.0)
    optimizer.step()
    assert weight.weight.item() == pytest.approx(before - 1.0)


def test_a_step_is_timed_by_a_training_that_leaves_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    at_step(monkeypatch, 1, lambda: time.sleep(2.0))  # the first steps do not count
    assert 0 < step_seconds(tiny(), warm_up=2, steps=3) < 2
    assert list(tmp_path.iterdir()) == []


def test_the_cost_adds_up_over_sittings(tiny, tmp_path, monkeypatch):
    at_step(monkeypatch, 2, lambda: time.sleep(1.0))
    train(tiny(threads=1), tmp_path / "run")
    whole = read_cost(tmp_path / "run/cost.json")
    assert (whole.steps, whole.threads) == (6, 1)
    assert whole.seconds >= 1.0
    assert 100 < whole.peak_memory_mib < 10_000  # torch alone has more than the one

    at_step(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGINT))  # after the second's sleep
    train(tiny(threads=1), tmp_path / "cut")
    first = read_cost(tmp_path / "cut/cost.json")
    assert first.steps == 3
    monkeypatch.undo()
    at_step(monkeypatch, 5, lambda: time.sleep(1.0))
    train(tiny(threads=1), tmp_path / "cut", resume=True)
    both = read_cost(tmp_path / "cut/cost.json")
    assert both.steps == 6
    assert both.seconds >= first.seconds + 1.0 >= 2.0
    kept = (tmp_path / "cut/cost.json").read_bytes()
    train(tiny(threads=1), tmp_path / "cut", resume=True)  # nothing is left to do
    assert (tmp_path / "cut/cost.json").read_bytes() == kept
