"""`semilung evaluate`: tables, thresholds, settings and other manifests."""

import json
import shutil

import nibabel as nib
import pandas as pd
import pytest
from commands import run


def test_evaluate_writes_tables(trained, tmp_path, capsys):
    assert run("evaluate", trained, "--split", "val", "--out", tmp_path / "e") == 0
    cases = pd.read_csv(tmp_path / "e/cases.csv")
    assert set(cases["role"]) <= {"labelled", "healthy"}
    assert cases["fp_volume_mm3"].notna().all()
    assert cases[["ece", "brier"]].notna().all(axis=None)
    assert "dice" in (tmp_path / "e/summary.md").read_text()
    assert "fp_volume_mm3" in capsys.readouterr().out


def test_evaluate_takes_a_threshold_chosen_on_validation_cases(trained, tmp_path, capsys):
    out = tmp_path / "e"
    assert run("evaluate", trained, "--threshold", "val", "--out", out) == 0
    table = pd.read_csv(out / "threshold.csv")
    chosen = table[table["dice"] >= table["dice"].max() - 0.01]["threshold"].max()
    assert f"threshold {chosen:g}, chosen on validation cases" in capsys.readouterr().out
    assert set(pd.read_csv(out / "cases.csv")["threshold"]) == {chosen}


def test_evaluate_takes_a_threshold_as_it_is_given(trained, tmp_path):
    for threshold in ("0", ".999999"):
        assert run("evaluate", trained, "--threshold", threshold, "--out", tmp_path) == 0
        cases = pd.read_csv(tmp_path / "cases.csv")
        everywhere = cases["predicted_volume_mm3"] > cases["reference_volume_mm3"] + 1e3
        assert everywhere.all() if threshold == "0" else not everywhere.any()


def test_evaluate_threshold_of_the_evaluated_cases_is_refused(trained, tmp_path, capsys):
    command = ("evaluate", trained, "--threshold", "val", "--out", tmp_path / "e")
    assert run(*command, "--split", "val") == 2
    assert "would flatter" in capsys.readouterr().err
    assert not (tmp_path / "e").exists()
    for word in ("1", "-0.1", "1.5", "half", "nan"):
        assert run("evaluate", trained, f"--threshold={word}") == 2
        assert "neither a probability" in capsys.readouterr().err


def test_evaluate_shows_another_convention_for_empty_masks(trained, tmp_path, capsys):
    out = tmp_path / "e"
    command = ("evaluate", trained, "--split", "val", "--out", out)
    assert run(*command, "evaluation.empty=pymic") == 0
    assert "all scans, as pymic" in (out / "summary.csv").read_text()
    healthy = pd.read_csv(out / "cases.csv").query("role == 'healthy'")
    assert healthy["dice"].isna().all()  # the cases keep our own policy
    for setting, message in {
        "evaluation.empty=nnuent": "did you mean nnunet?",
        "evaluation.emty=nnunet": "did you mean evaluation.empty?",
    }.items():
        assert run(*command, setting) == 2
        assert message in capsys.readouterr().err
    assert run("evaluate", "evaluation.empty=pymic") == 2
    assert "arguments are required: RUN" in capsys.readouterr().err
    assert run("evaluate", "evaluation.empty") == 2
    assert "evaluation.empty is not a run" in capsys.readouterr().err


def test_evaluate_with_other_settings_keeps_the_results_of_the_run(trained, phantom, tmp_path):
    run_ = shutil.copytree(trained, tmp_path / "r")
    assert run("evaluate", run_) == 0
    before = (run_ / "evaluation-test-last/cases.csv").read_bytes()
    other = tmp_path / "a b/manifest.csv"
    other.parent.mkdir()
    table = pd.read_csv(phantom).query("split == 'test'")
    for column in ("image", "mask", "anatomy"):
        table[column] = [
            str(phantom.parent / p) if isinstance(p, str) else p for p in table[column]
        ]
    table.to_csv(other, index=False)
    for words, folder in (
        (("--threshold", "0.9"), "evaluation-test-last-threshold_0.9"),
        (("inference.overlap=0.25",), "evaluation-test-last-overlap_0.25"),
        ((trained,), "evaluation-test-last-2_runs"),
        (("--manifest", other), "evaluation-a_b_manifest_??????-last"),
    ):
        assert run("evaluate", run_, *words) == 0
        (written,) = run_.glob(f"{folder}/cases.csv")
        assert written.stat().st_size
    cases_file = run_ / "evaluation-test-last/cases.csv"
    assert cases_file.read_bytes() == before
    cases_file.unlink()
    assert run("evaluate", run_, "inference.batch_size=1", "inference.overlap=0.5") == 0
    assert cases_file.is_file()  # no setting differs from the run or changes a metric


def test_pictures_of_an_earlier_evaluation_are_removed(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("semilung.tasks.evaluation_loop.SILENT_PICTURES", 0)
    command = ("evaluate", trained, "--out", tmp_path)
    assert run(*command, "--threshold", "0") == 0
    marked = {picture.name for picture in (tmp_path / "overlays").iterdir()}
    assert run(*command, "--threshold", ".999999") == 0
    remaining = {picture.name for picture in (tmp_path / "overlays").iterdir()}
    cases = pd.read_csv(tmp_path / "cases.csv").query("reference_volume_mm3 > 0")["case"]
    assert remaining == {f"{case}.png" for case in cases} < marked


def test_evaluate_through_a_link_out_of_the_run_writes_and_removes_nothing(
    trained, tmp_path, capsys
):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "mine.png").touch()
    out = tmp_path / "out"
    out.mkdir()
    (out / "overlays").symlink_to(pictures)
    assert run("evaluate", trained, "--out", out) == 2
    assert "by a link" in capsys.readouterr().err
    assert [path.name for path in pictures.iterdir()] == ["mine.png"]


def test_a_finished_run_is_used_with_other_inference_settings(trained, phantom, tmp_path, capsys):
    command = ("evaluate", trained, "--out", tmp_path / "e")
    assert run(*command, "inference.threshold=0", "inference.precision=bf16-mixed") == 0
    cases = pd.read_csv(tmp_path / "e/cases.csv")
    assert (cases["threshold"] == 0).all()
    assert (cases["predicted_volume_mm3"] > cases["reference_volume_mm3"] + 1e3).all()
    scan = tmp_path / "evaluation.nii.gz"
    shutil.copy(phantom.parent / pd.read_csv(phantom).loc[0, "image"], scan)
    command = ("predict", scan, "--run", trained, "--out", tmp_path / "p")
    settings = ("inference.min_volume_mm3=1e9", "inference.threshold=0")
    assert run(*command[:1], *settings[:1], *command[2:], *settings[1:], scan) == 0  # in any order
    (written,) = (tmp_path / "p").glob("*.nii.gz")
    assert not nib.load(written).get_fdata().any()
    for setting, message in {
        "inference.precision=half": "inference.precision must be one of",
        "inference.windows=[8,8,8]": "did you mean inference.window?",
    }.items():
        assert run(*command, "--overwrite", setting) == 2
        assert message in capsys.readouterr().err
    assert run("predict", "inference.threshold=0", "--run", trained, "--out", tmp_path) == 2
    assert "arguments are required: SCAN" in capsys.readouterr().err
    assert run(*command, "--overwrite", "--confident", "0.8") == 2
    assert "add --pseudo-labels" in capsys.readouterr().err
    assert run("predict", tmp_path, "--run", trained, "--out", tmp_path / "p") == 2
    assert f"\n{tmp_path}: this is a folder without DICOM slices" in capsys.readouterr().err


def test_a_manifest_that_is_gone_leaves_patients_unchecked_and_says_so(trained, phantom, tmp_path):
    moved = shutil.copytree(trained, tmp_path / "r")
    config = (moved / "config.yaml").read_text().replace(str(phantom), str(tmp_path / "gone.csv"))
    (moved / "config.yaml").write_text(config)
    table = pd.read_csv(phantom).query("split == 'test'").assign(split="")
    for column in ("image", "mask", "anatomy"):
        table[column] = [
            str(phantom.parent / p) if isinstance(p, str) else "" for p in table[column]
        ]
    table.to_csv(tmp_path / "m.csv", index=False)
    with pytest.warns(UserWarning, match=r"gone\.csv.* was not found: .* not their patients"):
        assert run("evaluate", moved, "--manifest", tmp_path / "m.csv") == 0


def test_averaging_runs_that_saw_each_others_cases_is_refused(trained, phantom, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    splits = json.loads((other / "splits.json").read_text())
    held_out = next(case for case, row in splits.items() if row["split"] == "test")
    moved = {**splits[held_out], "split": "train"}
    (other / "splits.json").write_text(json.dumps(splits | {held_out: moved}))
    assert run("evaluate", trained, other, "--out", tmp_path / "e") == 2
    assert held_out in capsys.readouterr().err
