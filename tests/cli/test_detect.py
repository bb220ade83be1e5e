"""`semilung detect` from another folder, and the message of each mistake."""

import shutil

import numpy as np
import pytest
from commands import run
from dicom_series import write_series


@pytest.fixture
def workplace(trained, trained_both, phantom, tmp_path, monkeypatch):
    """A folder next to which runs and scans lie."""
    for name, source in (("both", trained_both), ("old", trained)):
        (tmp_path / name).symlink_to(source)
    scan = sorted((phantom.parent / "images").iterdir())[0]
    shutil.copy(scan, tmp_path / "chest.nii.gz")
    (tmp_path / "file").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/chest_findings.csv").write_text("mine")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/findings.csv").write_text("mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("semilung.writers.finding_pictures.MAX_PICTURES", 1)
    return tmp_path


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}


def test_detect_command_prints_the_files_and_evaluate_reads_them(workplace, capsys):
    command = ("detect", "../chest.nii.gz", "--run", "../both", "--min-probability", "1e-4")
    assert run(*command, "--out", "../out", "inference.memory_gib=2") == 0
    printed = capsys.readouterr().out.split()
    assert printed == [
        "../out/chest_findings.csv", "../out/chest_findings.json", "../out/chest.html",
        "../out/findings.csv", "../out/scans.csv", "../out/index.html",
    ]  # fmt: skip
    lists = ("--annotations", "../out/findings.csv", "--scans", "../out/scans.csv")
    assert run("evaluate", "--findings", "../out/findings.csv", *lists) == 0
    printed = capsys.readouterr()
    assert "Sensitivity" in printed.out
    assert "warning" not in printed.err
    assert run(*command, "--out", "../out") == 2
    assert "has findings.csv of chest already; add --overwrite" in capsys.readouterr().err
    assert run(*command, "--out", "../out", "--resume") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["../chest.nii.gz", "--run", "../none"], "../none is not a run: it has no config.yaml"),
        (["../missing.nii.gz", "--run", "../both"], "../missing.nii.gz: no such file"),
        (["../notes.txt", "--run", "../both"], "no reader for this kind of file"),
        (["../chest.nii.gz", "--run", "../both", "--out", "../file"], "Choose another --out"),
        (["../chest.nii.gz", "--run", "../both", "--min-probability", "2"], "in (0, 1), got 2;"),
        (["../chest.nii.gz", "--run", "../both", "--min-probability", "nan"], "(0, 1), got nan"),
        (["../chest.nii.gz", "--run", "../both", "--min-probability", "x"], "invalid float value"),
        (["../chest.nii.gz", "--run", "../both", "--frame", "xyz"], "invalid choice: 'xyz'"),
        (["../chest.nii.gz", "--run", "../both", "--frame", "lsp"], "did you mean lps?"),
        (["../chest.nii.gz", "--run", "../both", "--run", "../old"], "the model has no head"),
        (["../chest.nii.gz", "--run", "../both", "--out", "../taken"], "chest already; add --over"),
        (["../chest.nii.gz", "--run", "../both", "--out", "../tables"], "not of scans in this"),
        (["../chest.nii.gz", "--run", "../both", "--threshold", "0.5"], "unrecognized arguments"),
        (["../chest.nii.gz", "--run", "../both", "inference.threshhold=1"], "inference.threshold?"),
        (["../chest.nii.gz", "--run", "../both", "--series", "3"], "leave --series out"),
        (["../study", "--run", "../both"], "its 8 slices are of 2 series"),
        (["../chest.nii.gz"], "the following arguments are required: --run"),
    ],
)
def test_detect_mistake_gives_one_message_and_leaves_nothing(workplace, capsys, words, message):
    if "../study" in words:
        for name in ("a", "b"):
            hu = np.random.default_rng(0).integers(-900, -700, (6, 5, 4))
            write_series(workplace / name, hu)
        for path in (workplace / "b").iterdir():
            shutil.move(path, workplace / "a" / f"b{path.name}")
        (workplace / "a").rename(workplace / "study")
    before = listing(workplace)
    assert run("detect", "--out", "../new", *words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert listing(workplace) == before
    assert not (workplace / "new").exists()


def test_detect_of_a_run_without_detection_takes_its_mask(workplace, capsys):
    words = ("--out", "../out", "inference.threshold=0.0")
    assert run("detect", "../chest.nii.gz", "--run", "../old", *words) == 0
    assert "components of the mask" in (workplace / "out/chest_findings.json").read_text()
