"""The command `semilung report` on a trained and evaluated run."""

import pytest

from semilung.cli import main


def run(*arguments):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_report_command_needs_an_evaluated_run_and_writes_the_page(phantom, tmp_path, capsys):
    settings = [
        "trainer=debug", "trainer.accelerator=cpu", "model.widths=[4,8]", "model.depth=1",
        "data.spacing_mm=[4,4,4]", "data.crop=[16,16,16]", "data.workers=0",
        "data.batch={labelled: 1, unlabelled: 0, healthy: 1, weak: 0}",
        "inference.window=[16,16,16]",
    ]  # fmt: skip
    paths = [f"data.manifest={phantom}", f"runs_dir={tmp_path}", "run_name=tiny"]
    assert run("train", *paths, *settings) == 0
    assert run("report", tmp_path / "tiny") == 2
    assert f"semilung evaluate {tmp_path / 'tiny'} --split val" in capsys.readouterr().err
    assert run("evaluate", tmp_path / "tiny", "--split", "val") == 0
    assert run("report", tmp_path / "tiny") == 0
    page = tmp_path / "tiny/report/index.html"
    assert f"report: {page}" in capsys.readouterr().out
    text = page.read_text()
    assert str(tmp_path) not in text
    assert "data:image/png" in text
    for option in ("--metric", "--figure"):  # the second is the former name
        assert run("report", tmp_path / "tiny", option, "x") == 2
        assert "--metric x: there is no such metric" in capsys.readouterr().err
