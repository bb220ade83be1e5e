"""Command line: results of every command, and messages on errors."""

import json
import shutil
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from tiny_settings import TINY

from semilung.cli import main


def run(*arguments):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def train(phantom, *overrides):
    return run("train", f"data.manifest={phantom}", *TINY, *overrides)


@pytest.fixture(scope="module")
def trained(phantom, tmp_path_factory):
    """A run of four steps."""
    runs = tmp_path_factory.mktemp("runs")
    code = train(phantom, "strategy=mean_teacher", f"runs_dir={runs}", "run_name=tiny")
    assert code == 0
    return runs / "tiny"


def test_train_leaves_a_whole_run(trained):
    names = {path.name.split(".")[0] for path in trained.iterdir()}
    assert {"last", "best", "config", "provenance", "splits", "metrics", "events"} <= names


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
    (written,) = (tmp_path / "p").iterdir()
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


def test_predict_keeps_the_scans_geometry_and_averages_runs(trained, phantom, tmp_path):
    image = pd.read_csv(phantom).loc[0, "image"]
    scan = phantom.parent / image
    code = run("predict", scan, "--run", trained, "--run", trained, "--out", tmp_path)
    assert code == 0
    (written,) = tmp_path.iterdir()
    mask, source = nib.load(written), nib.load(scan)
    assert mask.shape == source.shape
    np.testing.assert_allclose(mask.affine, source.affine)
    assert set(np.unique(mask.get_fdata())) <= {0, 1}
    assert run("predict", scan, "--run", trained, "--out", tmp_path) == 2
    assert run("predict", scan, "--run", trained, "--out", tmp_path, "--overwrite") == 0


@pytest.mark.filterwarnings("ignore:.*disagree by")
def test_predict_every_output_carries_the_forms_of_its_scan(trained, phantom, tmp_path):
    image = nib.load(phantom.parent / pd.read_csv(phantom).loc[0, "image"])
    other = image.affine.copy()
    other[0, 3] += 30
    image.set_qform(other, 1)
    image.set_sform(image.affine, 4)
    nib.save(image, tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    command = ("predict", tmp_path / "scan.nii.gz", "--run", trained, "--out", out)
    assert run(*command, "--probability", "--pseudo-labels") == 0
    written = sorted(out.glob("*.nii.gz"))
    assert [path.name.split("_")[1].split(".")[0] for path in written] == [
        "nodules", "probability", "pseudo"
    ]  # fmt: skip
    for path in written:
        header = nib.load(path).header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 4)
        np.testing.assert_allclose(header.get_qform(), image.header.get_qform(), atol=1e-5)
        np.testing.assert_allclose(header.get_sform(), image.header.get_sform(), atol=1e-5)


def test_predict_series_needs_a_folder_and_no_manifest(trained, phantom, tmp_path, capsys):
    scan = next((phantom.parent / "images").iterdir())
    command = ("predict", scan, "--run", trained, "--out", tmp_path / "p", "--series", "3")
    assert run(*command) == 2
    assert "leave --series out" in capsys.readouterr().err
    assert run(*command, "--pseudo-labels") == 2
    assert "(--pseudo-labels) do not go together" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_predictions_become_labels_of_another_training(trained, phantom, tmp_path, capsys):
    table = pd.read_csv(phantom)
    scans = [phantom.parent / image for image in table["image"][:3]]
    output = ["--run", trained, "--out", tmp_path / "p", "--pseudo-labels", "--confident", "0.55"]
    assert run("predict", *scans, *output) == 0
    written = pd.read_csv(tmp_path / "p/manifest.csv")
    assert set(written["role"]) == {"labelled"}
    labels = nib.load(tmp_path / "p" / written["mask"][0])
    assert set(np.unique(labels.get_fdata())) <= {0, 1, 255}
    assert labels.shape == nib.load(scans[0]).shape
    assert run("data", "check", tmp_path / "p/manifest.csv") == 0
    where = [f"runs_dir={tmp_path}", "run_name=second", "trainer.max_steps=1"]
    assert train(tmp_path / "p/manifest.csv", *where) == 0
    capsys.readouterr()
    assert run("predict", *scans, *output) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_one_bad_scan_does_not_stop_the_others(trained, phantom, tmp_path, capsys):
    good = phantom.parent / pd.read_csv(phantom).loc[0, "image"]
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(good.read_bytes()[:500])
    assert run("predict", bad, good, "--run", trained, "--out", tmp_path / "out") == 2
    assert "1 of 2 scans" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strategy=mean_techer"], "mean_teacher"),
        (["strategies.mean_teacher.weight=x", "strategy=mean_teacher"], "mean_teacher"),
        (["strategy=mean_teacher", "+strategies.mean_teacher.wieght=1"], "did you mean 'weight'"),
        (["optim.lr=abc"], "optim.lr"),
        (["optim.lr=-1"], "optim.lr"),
        (["sede=1"], "sede"),
        (["+optim.wd=1"], "wd"),
        (["model.widths=[3]"], "widths"),
        (["data.manifest=missing.csv"], "missing.csv"),
        (["data.labelled=1000"], "1000"),
        (["resume=missing"], "missing"),
        (["predictor=oracle"], "predictor"),
        (["trainer.max_steps=0"], "max_steps"),
    ],
)
def test_train_invalid_settings_end_with_one_message_and_code_2(
    phantom, tmp_path, capsys, arguments, message
):
    assert train(phantom, f"runs_dir={tmp_path}", *arguments) == 2
    output = capsys.readouterr()
    assert message in output.err + output.out
    assert "Traceback" not in output.err + output.out


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


def test_resume_refuses_another_training(trained, phantom, capsys):
    assert train(phantom, "strategy=mean_teacher", f"resume={trained}", "optim.lr=0.5") == 2
    assert "optim.lr is" in capsys.readouterr().err


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


def test_prepare_keeps_valid_cases_and_reports_the_others_with_code_2(phantom, tmp_path, capsys):
    table = pd.read_csv(phantom)[["case", "patient", "image"]].assign(role="unlabelled")
    table["image"] = [str(phantom.parent / image) for image in table["image"]]
    table.loc[2, "image"] = "gone.nii.gz"
    table.to_csv(tmp_path / "m.csv", index=False)
    command = ("data", "prepare", tmp_path / "m.csv", f"cache={tmp_path / 'c'}", "--processes", 2)
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


def test_list_and_help(capsys):
    assert run("list", "strategies") == 0
    assert "mean_teacher" in capsys.readouterr().out
    assert run("--help") == 0
    assert run("no-such-command") == 2


GROUPS = [
    f"{path.parent.name}={path.stem}"
    for path in sorted(Path(__file__).parents[1].glob("configs/*/*.yaml"))
    if path.parent.name != "base"
]


# The tiny phantom has two scans to learn its prior from, and few labels.
OWN = {
    "strategy=non_adjacency": ["strategies.non_adjacency.min_cases=1"],
    "experiment=demo": ["data.labelled=1"],
}


@pytest.mark.parametrize("choice", GROUPS)
def test_every_config_trains_a_step(phantom, tmp_path, choice):
    experiment = choice.startswith("experiment=")
    group = choice.partition("=")[0]
    replaced = {"trainer": ("trainer=",), "model": ("model.",)}.get(group, ())
    tiny = [override for override in TINY if not override.startswith(replaced)]
    tiny += ["model.depth=[0,1]"] if experiment else []
    limits = ["trainer.max_steps=1", "trainer.validate_every=0", "trainer.precision=32-true"]
    where = [f"data.manifest={phantom}", f"runs_dir={tmp_path}", "run_name=run"]
    assert run("train", *where, choice, *tiny, *limits, *OWN.get(choice, [])) == 0
    assert (tmp_path / "run/last.pt").exists()


def test_averaging_runs_that_saw_each_others_cases_is_refused(trained, phantom, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    splits = json.loads((other / "splits.json").read_text())
    held_out = next(case for case, row in splits.items() if row["split"] == "test")
    moved = {**splits[held_out], "split": "train"}
    (other / "splits.json").write_text(json.dumps(splits | {held_out: moved}))
    assert run("evaluate", trained, other, "--out", tmp_path / "e") == 2
    assert held_out in capsys.readouterr().err


def test_warning_is_printed_in_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    assert run("list", "models") == 0
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
