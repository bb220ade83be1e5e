"""What all commands share: help, usage, warnings and mistyped words."""

import ast
import re
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from commands import run


def test_list_and_help(capsys):
    assert run("list", "strategies") == 0
    assert "mean_teacher" in capsys.readouterr().out
    assert run("--help") == 0
    assert run("no-such-command") == 2


def test_warning_is_printed_in_one_line_also_after_itk_is_imported(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.delitem(sys.modules, "itkConfig", raising=False)
    assert run("list", "models") == 0
    with suppress(ImportError):
        import_module("itkConfig")
    output = warnings.formatwarning("the scanner gives it away", UserWarning, "mil.py", 7)
    assert output == "semilung: warning: the scanner gives it away\n"


@pytest.mark.parametrize(
    "command",
    [
        *("", "train", "ablate", "evaluate", "report", "predict", "list", "data"),
        *("data phantom", "data check", "data prepare", "data anatomy"),
    ],
)
def test_help_on_a_terminal_of_80_columns_has_no_wider_line(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(*command.split(), "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("command", [("data", "check"), ("evaluate",), ("data", "phantom")])
def test_unknown_argument_prints_the_usage_of_its_command(command, capsys):
    assert run(*command, "m", "--extra-word") == 2
    err = capsys.readouterr().err
    assert err.startswith(f"usage: semilung {' '.join(command)} ")
    assert f"semilung {' '.join(command)}: error: unrecognized arguments: --extra-word" in err


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (("--resume", "runs/a"), "resume=runs/a"),
        (("--resume=runs/a",), "resume=runs/a"),
        (("--trainer.max-steps", "5"), "trainer.max_steps=5"),
        (("seed=1", "--strategy"), "strategy=..."),
    ],
)
@pytest.mark.parametrize("command", ["train", "ablate"])
def test_setting_given_as_an_option_is_answered_with_the_setting(command, words, setting, capsys):
    assert run(command, *words) == 2
    assert f"settings are written without dashes, as {setting}\n" in capsys.readouterr().err


def test_misspelt_option_of_train_is_answered_with_the_option(capsys):
    assert run("train", "--confg-dir", "x") == 2
    assert "did you mean --config-dir?" in capsys.readouterr().err


COMMANDS = sorted(Path(__file__).parents[2].glob("semilung/cli/*.py"))
BELOW = (
    r"semilung\.(config|catalogue|testing|training|runs|inference|strategies|models|losses|data)\b"
)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_calls_functions_of_the_python_interface_alone(path):
    modules = [
        n.module for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)
    ]
    assert [module for module in modules if re.match(BELOW, module)] == []
