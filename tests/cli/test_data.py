"""`semilung data`: phantom, check and prepare, and messages on errors."""

from pathlib import Path

import pandas as pd
import pytest
from commands import run


def test_the_phantom_command_and_its_check(tmp_path, capsys):
    out = tmp_path / "p"
    assert run("data", "phantom", out, "--scans", 8, "--size", 32, "--spacing-mm", 4) == 0
    assert run("data", "check", out / "manifest.csv") == 0
    printed = capsys.readouterr().out
    assert "no error, " in printed
    assert "supervised" in printed.split("strategies")[1]
    assert run("data", "prepare", out / "manifest.csv", "spacing_mm=[4,4,4]") == 0
    assert run("data", "prepare", out / "manifest.csv", "spacing_mm=[0,4,4]") == 2
    assert run("data", "prepare", out / "manifest.csv", "spacing=4") == 2
    assert run("data", "prepare", out / "manifest.csv", "--verify", "spacing_mm=[4,4,4]") == 0
    capsys.readouterr()
    assert run("data", "prepare", out / "manifest.csv", "manifest=other.csv") == 2
    assert "preparation does not read manifest" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run("data", "phantom", tmp_path / "file/p") == 2
    assert "could not be written" in capsys.readouterr().err
    assert run("data", "phantom", out, "--scans", 9, "--size", 32, "--spacing-mm", 4) == 2


@pytest.mark.parametrize("workers", [("--processes", 2), ("--scheduler", "local")])
def test_prepare_keeps_valid_cases_and_reports_the_others_with_code_2(
    workers, phantom, tmp_path, capsys
):
    table = pd.read_csv(phantom)[["case", "patient", "image"]].assign(role="unlabelled")
    table["image"] = [str(phantom.parent / image) for image in table["image"]]
    table.loc[2, "image"] = "gone.nii.gz"
    table.to_csv(tmp_path / "m.csv", index=False)
    command = ("data", "prepare", tmp_path / "m.csv", f"cache={tmp_path / 'c'}", *workers)
    assert run(*command) == 2
    output = capsys.readouterr().err
    assert f"1 of {len(table)} cases cannot be prepared" in output
    assert f"{table.loc[2, 'case']}: {tmp_path / 'gone.nii.gz'}: no such file" in output
    assert len(list((tmp_path / "c").rglob("*.b2nd"))) == len(table) - 1


def test_data_check_reports_every_error(phantom, tmp_path, capsys):
    table = pd.read_csv(phantom)
    for column in ("image", "mask", "anatomy"):
        table[column] = [
            str(phantom.parent / p) if isinstance(p, str) else p for p in table[column]
        ]
    table.loc[0, "image"] = "gone.nii.gz"
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(Path(table.loc[1, "image"]).read_bytes()[:300])
    table.loc[1, "image"] = str(broken)
    table.to_csv(tmp_path / "manifest.csv", index=False)
    assert run("data", "check", tmp_path / "manifest.csv") == 2
    output = capsys.readouterr().out
    assert "gone.nii.gz" in output
    assert "broken.nii.gz" in output
