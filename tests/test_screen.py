"""What reaches the terminal, and how a command ends on a closed pipe or Ctrl-C."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest

from semilung.arm_names import printable
from semilung.cli import main
from semilung.cli.screen import Screen
from semilung.cli.settings import split_settings
from semilung.config.compose import Composer
from semilung.inference.scan_progress import ScanProgress

HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\r\u202eb"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("words", [["evaluate"], ["data", "check"], ["train", "--config-dir"]])
def test_command_prints_no_control_character_of_a_name(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, HOSTILE])
    output = capsys.readouterr()
    assert stop.value.code == 2
    assert r"a\x1b]0;title\x07" in output.err
    assert all(c.isprintable() or c == "\n" for c in output.out + output.err)


def test_screen_keeps_the_moves_of_a_progress_bar_on_a_terminal_alone():
    bar = "\r\x1b[2K\x1b[1A\x1b[?25l\x1b[31m50 %\x1b[0m"
    for stream, written in ((Terminal(), bar), (io.StringIO(), printable(bar))):
        assert Screen(stream).write(bar) == len(bar)
        assert stream.getvalue() == written
    terminal = Terminal()
    Screen(terminal).write(HOSTILE)
    assert r"\x1b]0;title\x07\x1b[2J\x9b31m" in terminal.getvalue()


def test_printable_spells_out_what_no_terminal_can_encode():
    assert printable("\udcff\n肺 é") == "\\udcff\n肺 é"


@pytest.mark.parametrize("words", [["--help"], ["train", "--cfg", "job"]])
def test_closed_pipe_ends_in_silence(words):
    command = [sys.executable, "-m", "semilung", *words]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("seconds", [0.6, 1.5])
def test_ctrl_c_during_imports_ends_with_130(seconds, tmp_path):
    command = [sys.executable, "-m", "semilung", "train", f"data.manifest={tmp_path / 'none'}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=tmp_path)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate()
    assert (process.returncode, output) == (130, b"semilung: interrupted\n")


def test_word_that_names_a_file_is_no_setting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site=A").mkdir()
    for name in ("site=A/manifest.csv", "inference.k=1.nii.gz"):
        (tmp_path / name).touch()
    words = ["data", "prepare", "site=A/manifest.csv", "spacing_mm=[2,2,2]", "a=" + "b" * 300]
    assert split_settings(words) == (words[3:], words[:3])
    words = ["predict", "inference.k=1.nii.gz", "inference.threshold=0.1"]
    assert split_settings(words) == (words[2:], words[:2])


@pytest.mark.parametrize(
    "name", ["epoch=9-step=8", "a,b", "x y", "(1)", "肺", "x'y", "${HOME}", "#1", "back\\slash"]
)
def test_path_with_odd_characters_is_taken_as_it_stands(tmp_path, name, capsys):
    (tmp_path / name).mkdir()
    composer = Composer()
    config = composer.command([f"data.manifest={tmp_path / name}", f"runs_dir={tmp_path / name}"])
    assert config.data.manifest == config.runs_dir == str(tmp_path / name)
    if set(name) & set("=,(#'"):
        with pytest.raises(SystemExit) as stop:
            main(["train", f"data.manifest={tmp_path / name / 'none=,('}"])
        assert stop.value.code == 2
        assert "needs quotes" in capsys.readouterr().err


def test_scan_progress_spells_out_the_control_characters_of_a_name(capsys):
    with ScanProgress(1) as progress:
        progress.begin("a\x1b[2Jb\rc")
    assert r"a\x1b[2Jb\rc" in capsys.readouterr().err
