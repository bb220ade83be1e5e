"""`semilung characterize`: files, folds for nets, and mistakes."""

import json

import pandas as pd
import pytest
from commands import run
from nodule_tables import QUICK, edited, nodule_tables

import semilung
from semilung.characterization.study_tables import FILES
from semilung.types import UserError


@pytest.fixture
def tables(tmp_path):
    return nodule_tables(tmp_path)


def characterize(tables, *arguments):
    features, nodules = tables
    return run("characterize", features, "--nodules", nodules, *QUICK, *arguments)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_characterize_writes_its_files_and_prints_the_difference_from_size(
    tables, tmp_path, capsys
):
    stability = tmp_path / "stability.csv"
    names = ["planted", *(f"noise_{i}" for i in range(6))]
    pd.DataFrame({"feature": names, "icc": [0.9] * 4 + [0.5] * 3}).to_csv(stability, index=False)
    out = tmp_path / "out"
    assert characterize(tables, "--out", out, "--stability", stability) == 0
    output = capsys.readouterr().out
    assert "size: AUC 0." in output
    assert "from size (" in output
    assert {*contents(out)} == {*FILES}
    scores = pd.read_csv(out / "scores.csv")
    assert scores.columns.tolist() == [
        *("repeat", "fold", "case", "nodule", "patient", "label", "diameter_mm", "arm", "score")
    ]
    assert len(scores) == 80 * 2
    features = pd.read_csv(out / "selected_features.csv")
    assert {*features["feature"]} <= {"planted", "noise_0", "noise_1", "noise_2"}
    record = json.loads((out / "settings.json").read_text())
    assert record["settings"]["folds"] == 3
    assert record["tables"]["features"]["file"] == "features.csv"
    assert len(record["tables"]["stability"]["sha256"]) == 64
    assert str(tmp_path) not in (out / "settings.json").read_text()


def test_characterize_is_the_same_again_from_python(tables, tmp_path):
    assert characterize(tables, "--out", tmp_path / "a") == 0
    result = semilung.characterize(*tables, tmp_path / "b", settings=QUICK)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert result.page == tmp_path / "b" / "index.html"
    assert result.metrics["arm"].unique().tolist() == ["size", "radiomics logistic"]


def test_characterize_compares_nets_that_were_trained_on_its_folds(tables, tmp_path):
    out = tmp_path / "out"
    assert characterize(tables, "--out", out, "--folds-only") == 0
    assert [*contents(out)] == ["folds.csv"]
    folds = pd.read_csv(out / "folds.csv")
    held_out = folds[folds["part"] != "train"]
    held_out.assign(score=held_out["label"] * 0.6 + 0.2).to_csv(tmp_path / "n.csv", index=False)
    external = tables[1].with_name("pathology.csv")
    pd.DataFrame({"case": ["c001", "c003", "c004", "c006"], "nodule": 1,
                  "malignant": [1, 1, 0, 0], "source": "pathology"}).to_csv(external)  # fmt: skip
    arguments = ("--scores", f"net={tmp_path / 'n.csv'}", "--external", external)
    assert characterize(tables, "--out", out, *arguments) == 0
    metrics = pd.read_csv(out / "metrics.csv").set_index(["population", "arm"])
    arms = ["size", "radiomics logistic", "net", "fusion net"]
    assert metrics.loc["all"].index.tolist() == arms
    assert metrics.loc[("all", "net"), "auc"] == 1
    assert metrics.loc[("external", "net"), ["n", "auc"]].tolist() == [4, 1]
    pd.testing.assert_frame_equal(pd.read_csv(out / "folds.csv"), folds)
    changed = ("--scores", f"net={tmp_path / 'n.csv'}", "seed=1")
    before = contents(out)
    assert characterize(tables, "--out", out, *changed) == 2
    assert contents(out) == before


@pytest.mark.parametrize("arguments", [(), ("--folds-only",)])
def test_characterize_replaces_no_files_of_anything_else(tables, tmp_path, capsys, arguments):
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("mine")
    assert characterize(tables, "--out", out, *arguments) == 2
    assert "holds index.html and no folds.csv" in capsys.readouterr().err
    assert contents(out) == {"index.html": b"mine"}


def test_folds_alone_do_not_replace_those_of_a_whole_study(tables, tmp_path, capsys):
    out = tmp_path / "out"
    assert characterize(tables, "--out", out) == 0
    before = contents(out)
    assert characterize(tables, "--out", out, "--folds-only", "seed=1") == 2
    assert "holds a whole study" in capsys.readouterr().err
    assert contents(out) == before


def test_a_study_that_cannot_be_written_to_its_end_has_no_record(tables, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert characterize(tables, "--out", out, "--folds-only") == 0
    (out / "settings.json").write_text("{}")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("semilung.api.characterize.write_text", full)
    assert characterize(tables, "--out", out) != 0
    assert {*contents(out)} == {*FILES} - {"settings.json", "index.html"}


def test_characterize_replaces_plain_files_alone(tables, tmp_path, capsys):
    out = tmp_path / "out"
    assert characterize(tables, "--out", out, "--folds-only") == 0
    (out / "metrics.csv").mkdir()
    assert characterize(tables, "--out", out) == 2
    assert "metrics.csv in it is not a plain file" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["folds.csv", "metrics.csv"]


def test_features_without_a_stability_are_named(tables, tmp_path):
    stability = tmp_path / "stability.csv"
    pd.DataFrame({"feature": ["planted"], "icc": [0.9]}).to_csv(stability, index=False)
    with pytest.warns(UserWarning, match="does not list 6 of 7 features, .*: noise_0, noise_1"):
        assert characterize(tables, "--out", tmp_path / "out", "--stability", stability) == 0


def test_characterize_that_is_interrupted_writes_nothing(tables, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("semilung.api.characterize.characterization_page", stop)
    assert characterize(tables, "--out", tmp_path / "out") == 130
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "o", "fold=3"), "did you mean characterize.folds?"),
        (("--out", "o", "folds=90"), "90 folds need at least 180 patients of each class"),
        (("--out", "o", "target=malignacy"), "did you mean malignancy?"),
        (("--out", "o", "source=pathology"), "no labelled nodule"),
        (("--out", "o", "--scores", "net.csv"), "write the name of the net and its table"),
        (("--out", "o", "--scores", "net=none.csv"), "none.csv: no such file was found"),
        (("--out", "o", "--scores", "size=features.csv"), "a net's name is one word"),
        (("--out", "o", "--scores", "a net=features.csv"), "a net's name is one word"),
        (("--out", "o", "--scores", "_net=features.csv"), "does not begin with an underscore"),
        (("--out", "o", "--scores", "a=x", "--scores", "a=y"), "names a net twice"),
        (("--out", "o", "--scores", "a=features.csv"), "is without the columns repeat, fold"),
        (("--out", "o", "--stability", "features.csv"), "is no table of stability"),
        (("--out", "o", "--stability", "none.csv"), "no such file was found"),
        (("--out", "o", "--external", "nodules.csv"), "has no column 'malignant'"),
        (("--out", "o", "--folds-only", "--scores", "a=b"), "--folds-only writes the folds alone"),
        (("--out", "features.csv"), "is not a folder in which you may write"),
        (("--out", "features.csv/o"), "is not a folder in which you may write"),
        (("--out", "o", "--stability", "o/scores.csv"), "would be replaced by a result"),
        (("--out", "o", "--fold-only"), "did you mean --folds-only?"),
        ((), "required: --out"),
    ],
)
def test_characterize_mistakes_are_one_message_and_write_nothing(
    tables, tmp_path, monkeypatch, capsys, arguments, message
):
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert characterize(tables, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"source": ["pathology"] + ["readers"] * 79}, "never mixed in one study"),
        ({"malignancy": "5"}, "all labelled nodules are of one class"),
        ({"planted": "1"}, "a rating or target among the features would be learned"),
    ],
)
def test_characterize_of_unsound_tables_writes_nothing(tables, tmp_path, capsys, columns, message):
    edited(tables[1], **columns)
    assert characterize(tables, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_columns_of_external_labels_are_no_features(tables, tmp_path):
    external = tmp_path / "pathology.csv"
    names = pd.read_csv(tables[1])[["case", "nodule"]]
    names.assign(malignant=1, noise_2="x").to_csv(external, index=False)
    with pytest.raises(UserError, match=r"has the columns noise_2, which are columns of .*pathol"):
        semilung.characterize(*tables, tmp_path / "out", external=external, settings=QUICK)


def test_external_labels_of_other_nodules_are_refused(tables, tmp_path):
    other = tmp_path / "other.csv"
    pd.DataFrame({"case": ["x"], "nodule": 1, "malignant": 1}).to_csv(other)
    with pytest.raises(UserError, match=r"none of 1 labelled nodules of .* is one of the 80"):
        semilung.characterize(*tables, tmp_path / "out", external=other, settings=QUICK)
