"""The settings of `train --help` and `docs/settings.md`, and what typos of them suggest."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tiny_settings import TINY

from semilung.cli import main
from semilung.config.schema import CommandConfig
from semilung.config.settings_table import settings, settings_page
from semilung.nested import leaves

PAGE = Path(__file__).parents[1] / "docs/settings.md"


def run(*words, code, capsys):
    """Everything that a command prints."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    output = capsys.readouterr()
    assert stop.value.code == code, output.err
    return output.out + output.err


def test_settings_page_is_up_to_date():
    assert PAGE.read_text() == settings_page(), (
        "write it anew: semilung list settings --markdown > docs/settings.md"
    )


def test_every_setting_has_a_text_and_a_default():
    table = list(settings())
    names = {name.partition("data.batch")[1] or name for name in leaves(asdict(CommandConfig()))}
    names = {n if not n.startswith(("model.", "strategies.")) else n.split(".")[0] for n in names}
    assert {setting.name for setting in table} >= names - {"strategies.supervised"}
    assert all(setting.text and setting.default for setting in table)


def test_train_help_has_one_line_for_each_setting(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("train", "--help", code=0, capsys=capsys).splitlines()
    assert all(len(line) <= 80 for line in lines if line.startswith("  "))
    for setting in settings():
        assert sum(line.split()[:1] == [setting.name] for line in lines) == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "lr=1"], "did you mean optim.lr?"),
        (["train", "+lr=1"], "did you mean optim.lr?"),
        (["train", "max_step=1"], "did you mean trainer.max_steps?"),
        (["train", "optim.lrr=1"], "did you mean optim.lr?"),
        (["train", "trainer.lr=1"], "did you mean optim.lr?"),
        (["train", "strategy=mean_techer"], "did you mean mean_teacher?"),
        (["train", "strategy=[mil,supervisd]"], "did you mean supervised?"),
        (["train", "model=segresnt"], "did you mean segresnet?"),
        (["train", "--config-dri=x"], "did you mean --config-dir?"),
        (["ablate", "strategy=mil", "window=1"], "did you mean inference.window?"),
        (["ablate", "strategy=mli"], "did you mean mil?"),
        (["evaluate", "x", "--treshold", "1"], "did you mean --threshold?"),
        (["evaluat", "x"], "did you mean evaluate?"),
        (["data", "prepair", "x"], "did you mean prepare?"),
        (["list", "modles"], "did you mean models?"),
    ],
)
def test_typos_are_met_with_the_name_that_was_meant(words, hint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = run(*words, code=2, capsys=capsys)
    assert hint in output
    assert "CommandConfig" not in output


def test_resume_with_more_steps_extends_the_run(phantom, tmp_path, capsys):
    words = [*TINY, f"data.manifest={phantom}", f"runs_dir={tmp_path}", "run_name=r"]
    run("train", *words, "trainer.max_steps=2", code=0, capsys=capsys)
    folder = tmp_path / "r"
    output = run("train", f"resume={folder}", "trainer.max_steps=3", code=0, capsys=capsys)
    assert "trainer.max_steps is 3 from here on and was 2" in output
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_steps"] == 3
    assert pd.read_csv(folder / "metrics.csv")["step"].max() == 3
    run("train", f"resume={folder}", code=0, capsys=capsys)
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    output = run("train", f"resume={folder}", "trainer.max_steps=1", code=2, capsys=capsys)
    assert "has done 3 steps, and trainer.max_steps=1 ends before" in output
    same = {path: path.read_bytes() for path in folder.glob("*.*") if "events" not in path.name}
    assert same == {path: raw for path, raw in before.items() if "events" not in path.name}
