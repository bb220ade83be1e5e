"""`semilung train`: the run's folder, every config and invalid settings."""

from pathlib import Path

import pytest
from commands import run, train
from located_case import with_located_case
from tiny_settings import TINY


def test_train_leaves_a_whole_run(trained):
    names = {path.name.split(".")[0] for path in trained.iterdir()}
    assert {"last", "best", "config", "provenance", "splits", "metrics", "events"} <= names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strategy=mean_techer"], "mean_teacher"),
        (["strategies.mean_teacher.weight=x", "strategy=mean_teacher"], "mean_teacher"),
        (["strategy=mean_teacher", "+strategies.mean_teacher.wieght=1"], "did you mean weight?"),
        (["optim.lr=abc"], "optim.lr"),
        (["optim.lr=-1"], "optim.lr"),
        (["sede=1"], "sede"),
        (["+optim.wd=1"], "wd"),
        (["model.widths=[3]"], "widths"),
        (["data.manifest=missing.csv"], "missing.csv"),
        (["data.labelled=1000"], "1000"),
        (["resume=missing"], "missing"),
        (["predictor=oracle"], "predictor"),
        (["trainer.max_steps=0"], "max_steps"),
    ],
)
def test_train_invalid_settings_end_with_one_message_and_code_2(
    phantom, tmp_path, capsys, arguments, message
):
    assert train(phantom, f"runs_dir={tmp_path}", *arguments) == 2
    output = capsys.readouterr()
    assert message in output.err + output.out
    assert "Traceback" not in output.err + output.out


def test_resume_refuses_another_training(trained, phantom, capsys):
    assert train(phantom, "strategy=mean_teacher", f"resume={trained}", "optim.lr=0.5") == 2
    assert "optim.lr is" in capsys.readouterr().err


GROUPS = [
    f"{path.parent.name}={path.stem}"
    for path in sorted(Path(__file__).parents[2].glob("configs/*/*.yaml"))
    if path.parent.name != "base"
]


# The tiny phantom has two scans to learn a prior from, and few labels; some need a stream or task.
OWN = {
    "strategy=non_adjacency": ["strategies.non_adjacency.min_cases=1"],
    "strategy=box_supervised": ["data.batch.located=1"],
    "strategy=focal_mix": ["tasks=detection"],
    "experiment=demo": ["data.labelled=1"],
}


@pytest.mark.parametrize("choice", GROUPS)
def test_every_config_trains_a_step(phantom, tmp_path, choice):
    experiment = choice.startswith("experiment=")
    group = choice.partition("=")[0]
    replaced = {"trainer": ("trainer=",), "model": ("model.",)}.get(group, ())
    tiny = [override for override in TINY if not override.startswith(replaced)]
    tiny += ["model.depth=[0,1]"] if experiment else []
    limits = ["trainer.max_steps=1", "trainer.validate_every=0", "trainer.precision=32-true"]
    manifest = with_located_case(phantom) if choice == "strategy=box_supervised" else phantom
    where = [f"data.manifest={manifest}", f"runs_dir={tmp_path}", "run_name=run"]
    assert run("train", *where, choice, *tiny, *limits, *OWN.get(choice, [])) == 0
    assert (tmp_path / "run/last.pt").exists()
