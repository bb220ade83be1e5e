"""`semilung data import` and `semilung data merge` as commands."""

import numpy as np
import pytest
from commands import run

from semilung.data import read_manifest, write_volume


@pytest.fixture
def source(tmp_path):
    for name in ("healthy/P1_a", "healthy/P1_b", "labelled/P2_a", "labelled/P2_a_mask"):
        path = tmp_path / f"site/{name}.nii.gz"
        write_volume(path, np.ones((3, 3, 3), np.int16), np.eye(4))
    return tmp_path / "site"


def test_import_command_writes_a_manifest_and_names_the_next_step(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("data", "import", "folder", source, out, "patient=(P[0-9])_", "--cohort", "X") == 0
    text = capsys.readouterr().out
    assert "2 healthy, 1 labelled" in text
    assert f"semilung data check {out / 'manifest.csv'}" in text
    cases = read_manifest(out / "manifest.csv")
    assert [(case.patient, case.cohort) for case in cases] == [
        ("P1", "X"),
        ("P1", "X"),
        ("P2", "X"),
    ]


def test_merge_command_writes_one_manifest(source, tmp_path, capsys):
    for name in "ab":
        run("data", "import", "folder", source, tmp_path / name, "--cohort", name)
    manifests = [tmp_path / name / "manifest.csv" for name in "ab"]
    assert run("data", "merge", *manifests, "--out", tmp_path / "all/manifest.csv") == 0
    assert len(read_manifest(tmp_path / "all/manifest.csv")) == 3  # the same files


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["foldr"], "folder"),
        (["folder", "--role", "normal"], "healthy"),
        (["folder", "patients=none.csv"], "none.csv"),
        (["folder", "pattern=x"], "its options: patient"),
        (["msd"], "dataset.json"),
    ],
)
def test_import_mistakes_are_one_message_and_leave_nothing(
    source, tmp_path, capsys, words, message
):
    name, *options = words
    assert run("data", "import", name, source, tmp_path / "out", *options) == 2
    err = capsys.readouterr().err
    assert message.lower() in err.lower()
    assert err.startswith("semilung: ")
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
