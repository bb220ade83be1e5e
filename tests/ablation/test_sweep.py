"""Ablations on the tiny phantom: every cell, resumed, refused, failed, on other launchers."""

import json
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
from tiny_settings import TINY

from semilung.ablation import FailedRunsError, ablate
from semilung.ablation import equal_compute as compute
from semilung.ablation import sweep_job as job
from semilung.ablation.cells import cells_of
from semilung.ablation.sweep_request import read_request
from semilung.cli import main
from semilung.strategies import Learner
from semilung.training import loop
from semilung.types import UserError

AXES = ["strategy=mean_teacher", "seed=0,1"]


@pytest.fixture
def words(phantom, tmp_path):
    """A command line without its axes."""
    return [*TINY, f"data.manifest={phantom}", f"sweep_dir={tmp_path / 'sweep'}"]


def rows(folder):
    return pd.read_csv(folder / "results.csv").set_index("run")


def interrupted_at(monkeypatch, optimizer_step, number=signal.SIGINT):
    """Send a signal in the n-th optimizer step of this process."""
    optimize, count = loop._optimize, iter(range(10**6))

    def optimize_then(training, batch):
        if next(count) + 1 == optimizer_step:
            os.kill(os.getpid(), number)
        return optimize(training, batch)

    monkeypatch.setattr(loop, "_optimize", optimize_then)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_stop_by_the_cluster_exits_with_75(words, monkeypatch, capsys, number, code):
    interrupted_at(monkeypatch, 2, number)
    with pytest.raises(SystemExit) as stop:
        main(["ablate", *AXES, *words])
    assert stop.value.code == code
    assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.slow
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
    with pytest.raises(UserError, match=r"optim\.weight_decay is not set there and 0\.1 here"):
        ablate([*AXES, *words, "optim.weight_decay=0.1"])


def test_a_failed_run_stops_no_other_and_is_tried_again(words, monkeypatch):
    # an option that only the data can refuse
    asked = ["strategy=non_adjacency,supervised", "strategies.non_adjacency.min_cases=99"]
    asked += ["baselines=false", *words]
    with pytest.raises(FailedRunsError, match=r"1 of 2 runs.*\n.*non_adjacency.*never touches"):
        ablate(asked)
    folder = Path(words[-1].partition("=")[2])
    assert list(rows(folder)["arm"]) == ["supervised"]
    failures = pd.read_csv(folder / "failures.csv")
    assert list(failures.columns) == ["run", "arm", "message"]
    assert list(failures["arm"]) == ["non_adjacency"]
    monkeypatch.setattr(Learner, "before_training", lambda self, streams: None)
    monkeypatch.setattr(job, "train", train_but_say_no)
    with pytest.raises(FailedRunsError, match=r"ValueError.*no"):  # not a mistake of the user's
        ablate(asked)
    assert len(rows(folder)) == 1
    [kept] = folder.glob("runs/non_adjacency*/failure.json")
    assert "train_but_say_no" in json.loads(kept.read_text())["details"]


def train_but_say_no(config, folder, *, resume):
    raise ValueError("no")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (["strategy=mean_techer"], "mean_techer"),
        (["strategy=supervised", "optim.lrr=1"], "lrr"),
        (["strategy=supervised", "trainer.max_steps=0"], "max_steps"),
        (["strategy=supervised", "data.labelled=99"], "at most"),
        (["strategy=supervised", "seed=0,1", "data.folds=2", "data.split_seed=null"], "different"),
        (["strategy=supervised", "hydra/launcher=nowhere"], "nowhere"),
        (["strategy=mean_teacher", "+strategies.mean_teacher.wieght=1"], "did you mean weight?"),
        (["strategy=supervised", "strategies.mean_techer.weight=1"], "did you mean mean_teacher"),
        (["strategy=supervised", "model.widths=[3]"], "widths"),
        (["strategy=mean_teacher", "data.batch.unlabelled=0"], "learns from unlabelled cases"),
        (["strategy=supervised,"], "cannot read 'strategy=supervised,'"),
        (["strategy=supervised", "seed="], "seed"),
        (["strategy=supervised", "runs_dir=elsewhere"], "sweep_dir"),
    ],
)
def test_invalid_settings_are_reported_before_anything_runs(words, mistake, message):
    with pytest.raises(UserError, match=message):
        ablate([*words, *mistake])
    assert not (Path(words[-1].partition("=")[2]) / "runs").exists()


def test_a_runs_folder_is_no_sweeps(words, tmp_path, capsys):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/config.yaml").write_text("")
    with pytest.raises(UserError, match="is a run's folder; name another sweep_dir"):
        ablate(["strategy=supervised", *words])
    for given in (["--config-dir", "nowhere"], ["--config-dir=nowhere"]):
        with pytest.raises(SystemExit) as stop:
            main(["ablate", "strategy=supervised", *given])
        assert stop.value.code == 2
        assert "--config-dir nowhere: there is no such folder" in capsys.readouterr().err


def test_a_patient_in_two_splits_is_refused(words, phantom, tmp_path):
    table = with_absolute_paths(phantom)
    table["split"] = ["train" if i % 2 else "val" for i in range(len(table))]
    table["patient"] = "one"
    table.to_csv(tmp_path / "leak.csv", index=False)
    with pytest.raises(UserError, match="one"):
        ablate(["strategy=supervised", *words, f"data.manifest={tmp_path / 'leak.csv'}"])


def test_equal_compute_gives_a_slower_arm_fewer_steps(words, monkeypatch):
    def seconds(config):
        return 0.3 if "mean_teacher" in config.strategies else 0.1

    monkeypatch.setattr(compute, "step_seconds", seconds)
    asked = ["strategy=mean_teacher", "equal=compute", "trainer.max_steps=6"]
    asked += ["strategies.mean_teacher.weight=2"]  # of this arm alone
    folder = ablate([*asked, *words])
    assert rows(folder).set_index("arm")["steps"].to_dict() == {
        "supervised": 6,
        "supervised, no healthy": 6,
        "mean_teacher": 2,
    }
    monkeypatch.setattr(compute, "step_seconds", lambda config: pytest.fail("timed again"))
    ablate([*asked, *words])


@pytest.mark.slow
def test_equal_compute_holds_each_setting_against_its_own_supervised_run(words, monkeypatch):
    def seconds(config):
        return (2 if "mean_teacher" in config.strategies else 1) * (
            1 + config.data.batch["healthy"]
        )

    monkeypatch.setattr(compute, "step_seconds", seconds)
    asked = ["strategy=mean_teacher", "equal=compute", *words, "data.batch.healthy=0,1"]
    found = rows(ablate(asked))
    assert found.set_index(["arm", "data.batch.healthy"])["steps"].to_dict() == {
        ("supervised, no healthy", 0): 4,
        ("supervised", 1): 4,
        ("mean_teacher", 0): 2,
        ("mean_teacher", 1): 2,
    }


def test_equal_compute_needs_a_supervised_run_before_it_times_any(words, monkeypatch):
    monkeypatch.setattr(compute, "step_seconds", lambda config: pytest.fail("timed"))
    with pytest.raises(UserError, match="with the arm 'supervised' of its setting"):
        ablate(["strategy=mean_teacher", "baselines=false", "equal=compute", *words])


def test_a_manifest_that_moved_a_case_is_refused(words, phantom, tmp_path):
    table = with_absolute_paths(phantom)
    manifest = tmp_path / "manifest.csv"
    table.to_csv(manifest, index=False)
    asked = ["baselines=false", *words, f"data.manifest={manifest}"]
    folder = ablate(["strategy=supervised", *asked])
    moved = table.index[(table["role"] == "labelled") & (table["split"] == "train")][0]
    table.loc[moved, "split"] = "val"
    table.to_csv(manifest, index=False)
    with pytest.raises(UserError, match=f"other split or role.*{table.loc[moved, 'case']}"):
        ablate(["strategy=supervised,mean_teacher", *asked])
    assert len(rows(folder)) == 1
    assert len(list(folder.glob("runs/*"))) == 1


@pytest.mark.slow
def test_fewer_values_of_an_axis_are_the_same_ablation(words):
    asked = ["strategy=supervised", "baselines=false", *words]
    folder = ablate([*asked, "optim.lr=0.001,0.002"])
    ablate([*asked[1:], asked[0], "optim.lr=0.002", "seed=1"])  # nor does the order matter
    assert sorted(zip(rows(folder)["seed"], rows(folder)["optim.lr"], strict=True)) == [
        (0, 0.001),
        (0, 0.002),
        (1, 0.002),
    ]
    with pytest.raises(UserError, match=r"model\.prior is not set there and swept here"):
        ablate([*asked, "optim.lr=0.002", "model.prior=0.1,0.2"])


def test_settings_that_change_no_result_may_change(words):
    asked = ["strategy=supervised", "baselines=false", *words]
    folder = ablate(asked)
    ablate([*asked, "trainer.threads=1", "data.workers=1"])
    assert len(list(folder.glob("runs/*"))) == 1


def test_a_run_that_another_process_is_at_is_left_to_it(words, capsys):
    asked = ["strategy=supervised", "baselines=false", *words]
    folder = ablate(asked)
    [run] = folder.glob("runs/*")
    (run / "row.json").rename(run / "kept")
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print()"
    other = subprocess.Popen(
        [sys.executable, "-c", f"{code}; sys.stdout.flush(); input()", str(run / ".claim")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    other.stdout.readline()
    with pytest.raises(FailedRunsError, match="another process may be at it"):
        ablate(asked)
    other.kill()
    other.wait()
    ablate(asked)  # a claim ends with its process
    assert len(rows(folder)) == 1


def test_a_run_is_not_gone_on_with_as_another(words):
    asked = ["strategy=supervised", "baselines=false", *words]
    folder = ablate(asked)
    [run] = folder.glob("runs/*")
    config = OmegaConf.load(run / "config.yaml")
    config.optim.lr = 0.5
    OmegaConf.save(config, run / "config.yaml")
    for _ in ("finished", "begun"):
        with pytest.raises(UserError, match=r"optim\.lr is 0\.5 in the run"):
            ablate([*asked, "seed=0,1"])
        (run / "row.json").unlink(missing_ok=True)
    assert len(list(folder.glob("runs/*"))) == 1


def test_a_run_that_another_process_has_finished_is_not_repeated(words, monkeypatch):
    folder = ablate(["strategy=supervised", "baselines=false", *words])
    [cell] = cells_of(
        read_request(["strategy=supervised", "baselines=false", *words]), healthy=True
    )
    late = job.Job(folder, {cell.name: cell}, [], "val", 1, False, time.time(), {})
    kept = (folder / "runs" / cell.name / "row.json").read_bytes()
    monkeypatch.setattr(job, "train", train_but_say_no)
    late(OmegaConf.create({"run_name": cell.name}))
    assert (folder / "runs" / cell.name / "row.json").read_bytes() == kept
    assert not (folder / "runs" / cell.name / "failure.json").exists()


def with_absolute_paths(manifest):
    """The manifest's table, fit to be written elsewhere."""
    table = pd.read_csv(manifest)
    for column in ("image", "mask", "anatomy"):
        found = table[column]
        table[column] = [str(manifest.parent / p) if isinstance(p, str) else "" for p in found]
    return table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "package"),
    [
        ("parallel", "hydra_plugins.hydra_joblib_launcher"),
        ("slurm_local", "hydra_plugins.hydra_submitit_launcher"),
    ],
)
def test_other_launchers_fill_the_same_table(words, launcher, package):
    pytest.importorskip(package)
    asked = ["strategy=supervised", "seed=0,1", "baselines=false", *words]
    folder = ablate([*asked, f"hydra/launcher={launcher}"])
    assert list(rows(folder)["seed"]) == [0, 1]
    for run in folder.glob("runs/*"):
        assert "step 4/4" in (run / "log.txt").read_text()
        assert json.loads((run / "cost.json").read_text())["threads"] == 1


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
