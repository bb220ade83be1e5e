"""Ablations on the tiny phantom: every cell, resumed, refused, failed, on other launchers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf

from semilung.ablation import ablate, compute
from semilung.training import loop
from semilung.types import UserError

TINY = [
    "trainer=debug",
    "trainer.accelerator=cpu",
    "model.widths=[4,8]",
    "model.depth=1",
    "data.spacing_mm=[4,4,4]",
    "data.crop=[16,16,16]",
    "data.batch.labelled=1",
    "data.batch.unlabelled=1",
    "data.batch.healthy=1",
    "data.workers=0",
    "inference.window=[16,16,16]",
]
AXES = ["strategy=mean_teacher", "seed=0,1"]


@pytest.fixture
def words(phantom, tmp_path):
    """A command line without its axes."""
    return [*TINY, f"data.manifest={phantom}", f"sweep_dir={tmp_path / 'sweep'}"]


def rows(folder):
    return pd.read_csv(folder / "results.csv").set_index("run")


def interrupted_at(monkeypatch, optimizer_step):
    """Send SIGINT in the n-th optimizer step of this process."""
    optimize, count = loop._optimize, iter(range(10**6))

    def optimize_then(training, batch):
        if next(count) + 1 == optimizer_step:
            os.kill(os.getpid(), signal.SIGINT)
        return optimize(training, batch)

    monkeypatch.setattr(loop, "_optimize", optimize_then)


def test_an_interrupted_ablation_goes_on_and_repeats_nothing(words, monkeypatch):
    interrupted_at(monkeypatch, 4 + 4 + 3)  # in the third run
    with pytest.raises(KeyboardInterrupt):
        ablate([*AXES, *words])
    monkeypatch.undo()
    folder = Path(words[-1].partition("=")[2])
    begun = rows(folder)
    assert len(begun) == 2
    untouched = {run: (folder / "runs" / run / "last.pt").stat().st_mtime_ns for run in begun.index}

    steps = []
    optimize = loop._optimize
    monkeypatch.setattr(loop, "_optimize", lambda *a: (steps.append(1), optimize(*a))[1])
    assert ablate([*AXES, *words]) == folder
    assert len(steps) == (6 - 2) * 4 - 3  # what the interrupted run had done is kept too
    assert all(
        (folder / "runs" / run / "last.pt").stat().st_mtime_ns == at
        for run, at in untouched.items()
    )
    found = rows(folder)
    cells = found.groupby("arm")["seed"].apply(sorted).to_dict()
    arms = ("mean_teacher", "supervised", "supervised, no healthy")
    assert cells == {arm: [0, 1] for arm in arms}
    assert (found["steps"] == 4).all()
    assert found["healthy_fp_volume_mm3"].notna().all()
    assert (found["seconds"] > 0).all()
    assert list(found.columns[:4]) == ["arm", "seed", "split", "steps"]
    without = [
        OmegaConf.load(folder / "runs" / run / "config.yaml").data.batch.healthy
        for run in found.index[found["arm"] == "supervised, no healthy"]
    ]
    assert without == [0] * 2

    steps.clear()
    ablate([*AXES, *words])
    assert steps == []
    ablate([*AXES[:1], "seed=0,1,2", *words])  # an axis grows
    assert len(steps) == 3 * 4
    assert yaml.safe_load((folder / "sweep.yaml").read_text())["axes"]["seed"] == ["0", "1", "2"]
    with pytest.raises(UserError, match=r"optim\.weight_decay=0\.1"):
        ablate([*AXES, *words, "optim.weight_decay=0.1"])


def test_a_failed_run_stops_no_other_and_is_tried_again(words):
    wanted = ["strategy=mean_teacher,supervised", "baselines=false"]
    with pytest.raises(UserError, match=r"1 of 2 runs.*\n.*mean_teacher.*unlabelled cases"):
        ablate([*wanted, *words, "data.batch.unlabelled=0"])
    folder = Path(words[-1].partition("=")[2])
    assert list(rows(folder)["arm"]) == ["supervised"]
    failures = pd.read_csv(folder / "failures.csv")
    assert failures["message"].str.contains("learns from unlabelled cases").all()
    [failed] = (folder / "runs").glob("mean_teacher*")
    assert (failed / "failure.txt").exists()
    with pytest.raises(UserError, match="1 of 2 runs"):
        ablate([*wanted, *words, "data.batch.unlabelled=0"])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["strategy=mean_techer"], "mean_techer"),
        (["strategy=supervised", "optim.lrr=1"], "lrr"),
        (["strategy=supervised", "trainer.max_steps=0"], "max_steps"),
        (["strategy=supervised", "data.labelled=99"], "at most"),
        (["strategy=supervised", "seed=0,1", "data.folds=2", "data.split_seed=null"], "different"),
        (["strategy=supervised", "hydra/launcher=nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_runs(words, asked, told):
    with pytest.raises(UserError, match=told):
        ablate([*words, *asked])
    assert not (Path(words[-1].partition("=")[2]) / "runs").exists()


def test_a_patient_in_two_splits_is_refused(words, phantom, tmp_path):
    table = pd.read_csv(phantom)
    table["image"] = [str(phantom.parent / image) for image in table["image"]]
    for column in ("mask", "anatomy"):
        table[column] = [
            str(phantom.parent / p) if isinstance(p, str) else "" for p in table[column]
        ]
    table["split"] = ["train" if i % 2 else "val" for i in range(len(table))]
    table["patient"] = "one"
    table.to_csv(tmp_path / "leak.csv", index=False)
    with pytest.raises(UserError, match="one"):
        ablate(["strategy=supervised", *words, f"data.manifest={tmp_path / 'leak.csv'}"])


def test_equal_compute_gives_a_slower_arm_fewer_steps(words, monkeypatch):
    def seconds(config):
        return 0.3 if "mean_teacher" in config.strategies else 0.1

    monkeypatch.setattr(compute, "_step_seconds", seconds)
    asked = ["strategy=mean_teacher", "equal=compute", "trainer.max_steps=6"]
    asked += ["strategies.mean_teacher.weight=2"]  # of this arm alone
    folder = ablate([*asked, *words])
    assert rows(folder).set_index("arm")["steps"].to_dict() == {
        "supervised": 6,
        "supervised, no healthy": 6,
        "mean_teacher": 2,
    }
    monkeypatch.setattr(compute, "_step_seconds", lambda config: pytest.fail("timed again"))
    ablate([*asked, *words])


def test_a_step_is_timed_by_a_run_that_leaves_nothing(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert 0 < compute._step_seconds(tiny_config) < 60
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tiny_config(phantom):
    from semilung.ablation.command import _compose, _hydra

    with _hydra(None) as hydra:
        return _compose(hydra, [*TINY, f"data.manifest={phantom}"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "package"),
    [
        (["hydra/launcher=parallel"], "hydra_plugins.hydra_joblib_launcher"),
        (["hydra/launcher=slurm_local"], "hydra_plugins.hydra_submitit_launcher"),
    ],
)
def test_other_launchers_fill_the_same_table(words, launcher, package):
    pytest.importorskip(package)
    folder = ablate(["strategy=supervised", "seed=0,1", "baselines=false", *words, *launcher])
    assert list(rows(folder)["seed"]) == [0, 1]


@pytest.mark.slow
def test_a_killed_ablation_goes_on(words):
    command = [sys.executable, "-m", "semilung", "ablate", *AXES, *words, "trainer.max_steps=60"]
    command += ["trainer.checkpoint_every=5", "trainer.validate_every=0"]
    folder = Path(words[-1].partition("=")[2])
    process = subprocess.Popen(command)
    while (
        len(list(folder.glob("runs/*/row.json"))) < 1
        or len(list(folder.glob("runs/*/last.pt"))) < 2
    ):
        assert process.poll() is None
        time.sleep(0.2)
    process.kill()
    process.wait()
    kept = {path: path.read_bytes() for path in folder.glob("runs/*/row.json")}
    assert subprocess.run(command, check=False).returncode == 0
    assert len(rows(folder)) == 6
    assert all(path.read_bytes() == row for path, row in kept.items())
