"""`semilung data import` and `semilung data merge` as commands."""

import numpy as np
import pytest
from commands import run
from hospital_tree import write_ct

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


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scan_and_import_of_dicom_as_commands(tmp_path, capsys):
    write_ct(tmp_path / "in/ct", uid="1.2.3.1")
    write_ct(tmp_path / "in/scout", uid="1.2.3.2", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert run("data", "scan", tmp_path / "in", "--csv", tmp_path / "s.csv") == 0
    text = capsys.readouterr().out
    assert "series 1: CT, 4 slices, every 2.5 mm, 2.5 mm thick, pixels 0.7 mm" in text
    assert "kernel STANDARD (soft), GE" in text
    assert "series 1: localiser, 4 files" in text
    assert "2 series of 1 studies, 1 can be imported" in text
    out, key = tmp_path / "out", tmp_path / "key"
    assert (
        run("data", "import", "dicom", tmp_path / "in", out, "--key", key, "--role", "healthy") == 0
    )
    assert "1 healthy" in capsys.readouterr().out
    assert key.exists()
    assert run("data", "import", "folder", tmp_path / "in", tmp_path / "b", "--key", key) == 2
    assert "has no option 'key'" in capsys.readouterr().err
