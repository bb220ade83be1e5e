"""Paths and names that no file system takes, or that lead where a run has no business."""

import shutil

import pandas as pd
import pytest
from tiny_settings import TINY

from semilung.cli import main
from semilung.data.manifest.cases import read_manifest
from semilung.runs import load_run_config, with_available_cache
from semilung.training import TrainConfig
from semilung.types import UserError


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.cache='~nosuchuser/x'", "data.cache='~nosuchuser/x' is no path"),
        ("data.manifest=loop", "data.manifest='loop' is no path"),
        ("runs_dir=loop/x", "is no path"),
        (f"run_name={'x' * 300}", "run_name='xxx"),
        ("run_name='../x'", "names no folder"),
        ("run_name=/abs/x", "names no folder"),
        ("run_name=.", "names no folder"),
        (f"runs_dir={'y' * 300}", "File name too long"),
        (f"data.manifest={'y' * 300}", "File name too long"),
    ],
)
def test_path_that_cannot_be_is_refused_by_name(
    phantom, tmp_path, monkeypatch, capsys, word, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SystemExit) as stop:
        main(["train", f"data.manifest={phantom}", *TINY, word])
    output = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in output
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_nul_in_a_run_folder_is_refused():
    config = TrainConfig()
    config.data.cache = "a\0b"
    with pytest.raises(UserError, match=r"data\.cache='a.x00b' is no path"):
        with_available_cache(config)


def test_evaluate_fills_no_folder_that_a_strangers_run_names(phantom, tmp_path, capsys):
    words = [*TINY, f"data.manifest={phantom}", f"runs_dir={tmp_path}", "run_name=r"]
    with pytest.raises(SystemExit):
        main(["train", *words, f"data.cache={tmp_path / 'own'}"])
    assert with_available_cache(load_run_config(tmp_path / "r")).data.cache == str(tmp_path / "own")
    (tmp_path / "own").rename(tmp_path / "moved")
    victim = tmp_path / "own"
    victim.mkdir()
    with (
        pytest.warns(UserWarning, match="holds no prepared volumes"),
        pytest.raises(SystemExit) as stop,
    ):
        main(["evaluate", str(tmp_path / "r")])
    assert stop.value.code == 0
    assert list(victim.iterdir()) == []
    shutil.rmtree(victim)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["A", "a"], "differ by case alone"),
        (["é", "e\u0301"], "differ by case alone"),
        ([".."], "is none on every system"),
        (["CON"], "is none on every system"),
        (["nul.txt"], "is none on every system"),
        (["LPT1"], "is none on every system"),
    ],
)
def test_case_that_is_no_file_name_is_refused(tmp_path, names, message):
    table = pd.DataFrame({"case": names, "patient": names, "image": "x.nii", "role": "unlabelled"})
    table.to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path / "m.csv")


def test_cases_that_look_like_devices_only_in_part_are_taken(tmp_path):
    names = ["CONE", "..a", "com10", "a.con"]
    table = pd.DataFrame({"case": names, "patient": names, "image": "x.nii", "role": "unlabelled"})
    table.to_csv(tmp_path / "m.csv", index=False)
    assert [case.case for case in read_manifest(tmp_path / "m.csv")] == names
