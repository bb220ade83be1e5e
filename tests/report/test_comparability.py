"""Invalid comparisons are errors with one message that says what to do."""

import json

import pytest
from made_sweep import HEALTHY, NODULES, cases, write_run, write_sweep

from semilung.report import read_study, write_html
from semilung.types import UserError

DICE = (0.5, 0.6, 0.7, 0.8)


def test_report_of_neither_run_nor_sweep_is_an_error(tmp_path):
    with pytest.raises(UserError, match="is neither a run nor a sweep: a run contains"):
        write_html([tmp_path])
    with pytest.raises(UserError, match="is not a folder"):
        write_html([tmp_path / "none"])


def test_report_of_unevaluated_runs_is_an_error_with_the_command_to_run(tmp_path):
    splits = {name: {"role": "labelled", "split": "test"} for name in NODULES}
    run = write_run(tmp_path / "a", cases(DICE), splits=splits)
    with pytest.raises(UserError, match=f"semilung evaluate {run} --split test"):
        write_html([run], split="test")


def test_report_of_runs_with_different_cases_is_an_error(tmp_path):
    a = write_run(tmp_path / "a", cases(DICE))
    other = cases(DICE, nodules=("n1", "n2", "n3", "n9"))
    b = write_run(tmp_path / "b", other, strategies=("supervised", "mil"))
    with pytest.raises(UserError, match=r"test cases differ: .* only one of them has n4, n9"):
        write_html([a, b])


def test_report_of_seeds_with_different_cases_is_an_error(tmp_path):
    a = write_run(tmp_path / "a", cases(DICE))
    b = write_run(tmp_path / "b", cases(DICE[:3], nodules=NODULES[:3]), seed=1)
    with pytest.raises(UserError, match="only one of them has n4"):
        write_html([a, b])


def test_report_folds_of_one_arm_form_one_result(tmp_path):
    runs = []
    for arm, extra in (("supervised", ()), ("mil", ("mil",))):
        for fold, names in enumerate((NODULES[:2], NODULES[2:])):
            table = cases(DICE[:2], (0.0,), nodules=names, healthy=HEALTHY[fold : fold + 1])
            data = {"folds": 2, "fold": fold}
            strategies = ("supervised", *extra)
            runs.append(
                write_run(tmp_path / f"{arm}{fold}", table, strategies=strategies, data=data)
            )
    (group,) = read_study(runs).groups
    assert list(group.contenders) == ["supervised", "mil"]
    assert write_html(runs, tmp_path / "out").is_file()
    with pytest.raises(UserError, match="test cases differ"):
        write_html(runs[:3], tmp_path / "out")


def test_report_of_several_manifests_compares_cases_within_each(tmp_path):
    runs = []
    for strategies in (("supervised",), ("supervised", "mil")):
        for name, nodules in (("x", NODULES), ("y", ("m1", "m2", "m3", "m4"))):
            runs.append(
                write_run(
                    tmp_path / f"{strategies[-1]}{name}", cases(DICE, nodules=nodules),
                    strategies=strategies, data={"manifest": f"/home/ann/{name}.csv"},
                    splits={case: {"role": "labelled", "split": "val"} for case in nodules},
                )
            )  # fmt: skip
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "sweep.yaml").write_text("split: val\n")
    (sweep / "runs").mkdir()
    lines = ["run,arm,seed,data.manifest,split"]
    for run in runs:
        run.rename(sweep / "runs" / run.name)
        arm, name = run.name[:-1], run.name[-1]
        lines.append(f"{run.name},{arm},0,/home/ann/{name}.csv,val")
    (sweep / "results.csv").write_text("\n".join(lines) + "\n")
    text = write_html([sweep]).read_text()
    assert "data.manifest=…/x.csv" in text
    assert "/home/ann" not in text


def test_report_of_two_runs_with_equal_arm_and_seed_is_an_error(tmp_path):
    runs = [write_run(tmp_path / name, cases(DICE)) for name in ("a", "b")]
    with pytest.raises(UserError, match="a and b are both supervised, seed 0"):
        write_html(runs)


def test_report_of_a_training_case_is_an_error(tmp_path):
    splits = {name: {"role": "labelled", "split": "train" if name == "n2" else "val"}
              for name in NODULES}  # fmt: skip
    run = write_run(tmp_path / "a", cases(DICE), splits=splits)
    with pytest.raises(UserError, match=r"was trained on n2 .* the split leaks"):
        write_html([run])


def test_report_of_a_training_patient_is_an_error(tmp_path):
    rows = [f"{name},{name},{name}.nii.gz,labelled" for name in NODULES[:3]]
    rows += [f"{name},{name},{name}.nii.gz,healthy" for name in HEALTHY]
    rows += ["n4,smith,n4.nii.gz,labelled", "t1,smith,t1.nii.gz,unlabelled"]
    manifest = tmp_path / "manifest.csv"
    masked = [f"{r},{r.split(',')[0]}_mask.nii.gz" if ",labelled" in r else f"{r}," for r in rows]
    manifest.write_text("\n".join(["case,patient,image,role,mask", *masked]) + "\n")
    run = write_run(tmp_path / "a", cases(DICE), data={"manifest": str(manifest)})
    with pytest.raises(UserError, match="was trained on n4") as error:
        write_html([run])
    assert "smith" not in str(error.value)


def test_report_without_manifest_has_a_caveat_on_patients(tmp_path):
    run = write_run(tmp_path / "a", cases(DICE))
    assert "by case, but not by patient" in write_html([run]).read_text()


def test_report_of_several_sweeps_is_an_error(tmp_path):
    sweeps = [write_sweep(tmp_path / name, seeds=(0,)) for name in ("s", "t")]
    with pytest.raises(UserError, match="give one sweep alone"):
        write_html(sweeps)


def test_report_of_a_sweep_without_a_finished_run_is_an_error(tmp_path):
    sweep = write_sweep(tmp_path / "s", seeds=(0,))
    (sweep / "results.csv").unlink()
    with pytest.raises(UserError, match="no finished run"):
        write_html([sweep])


def test_report_of_a_damaged_file_is_an_error(tmp_path):
    run = write_run(tmp_path / "a", cases(DICE))
    (run / "audits.json").write_text("{")
    with pytest.raises(UserError, match=r"audits\.json cannot be read"):
        write_html([run])
    (run / "audits.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match=r"audits\.json is not a mapping"):
        write_html([run])


def test_report_of_a_split_without_cases_is_an_error(tmp_path):
    splits = {name: {"role": "labelled", "split": "train"} for name in NODULES}
    run = write_run(tmp_path / "a", cases(DICE), splits=splits)
    with pytest.raises(UserError, match="has no labelled or healthy case in the test split"):
        write_html([run], split="test")
