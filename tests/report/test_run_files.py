"""Links, damaged files and invalid types in a run: one error message, no file from outside."""

import json

import pandas as pd
import pytest
import yaml
from made_sweep import cases, write_run, write_sweep

from semilung.cli import main
from semilung.report import write_html
from semilung.report.run_files import RESULTS, read_cases, read_table
from semilung.tasks import build_tasks
from semilung.types import UserError

DICE = (0.5, 0.6, 0.7, 0.8)
PNG = b"\x89PNG\r\n\x1a\nsecret"

JSONS = ("cost.json", "audits.json", "provenance.json", "splits.json")
WRONG = (
    [], [1], "text", 3, None, True, {"a": 1}, {"a": [1]}, {"a": {"status": 1}},
    {"a": {"summary": ["x"]}}, {"seconds": [1]}, {"seconds": "x"}, {"steps": {"a": 1}},
    {"seconds": True}, {"seconds": 10**400}, {"command": "x"}, {"command": {"a": 1}},
    {"command": [1, None, ["a"]]}, {"versions": [1]}, {"versions": {"torch": [1]}},
    {"n1": {"split": 1, "role": "labelled"}}, {"n1": {"split": ["val"], "role": {}}}, {"n1": []},
)  # fmt: skip


@pytest.fixture
def intact(tmp_path):
    return write_run(tmp_path / "a", cases(DICE))


def report(folder, out, capsys):
    """Exit code and message of the command; what is no clean refusal fails here."""
    with pytest.raises(SystemExit) as stop:
        main(["report", str(folder), "--out", str(out)])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    if stop.value.code:
        assert stop.value.code == 2
        assert len(error.strip().splitlines()) == 1
    return stop.value.code, error


@pytest.mark.parametrize("name", JSONS)
def test_report_json_of_wrong_types_is_refused_in_one_sentence_or_harmless(
    intact, tmp_path, capsys, monkeypatch, name
):
    monkeypatch.setattr(
        "semilung.report.page.page_environment", Blank
    )  # the plots are another test's
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, *_, **__: None)
    refused = 0
    for value in WRONG:
        (intact / name).write_text(json.dumps(value))
        code, error = report(intact, tmp_path / "out", capsys)
        refused += code == 2
        assert code == 0 or name in error or "damaged" in error
    assert refused >= 6


class Blank:
    """A template that renders every value, and draws no page."""

    def get_template(self, name):
        return self

    def render(self, **context):
        return str(context)


CELLS = ("words", "inf", "-inf", "1e300", "-1", "[1]", "0x10", "1+2j", "5000")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("evaluation-val-last/cases.csv", "dice"),
        ("evaluation-val-last/cases.csv", "reference_volume_mm3"),
        ("evaluation-val-last/cases.csv", "predicted_volume_mm3"),
        ("evaluation-val-last/lesions.csv", "detected"),
        ("evaluation-val-last/lesions.csv", "diameter_mm"),
        ("metrics.csv", "step"),
        ("metrics.csv", "value"),
    ],
)
def test_report_csv_of_words_for_numbers_is_refused_with_row_and_column(
    intact, tmp_path, capsys, monkeypatch, name, column
):
    monkeypatch.setattr("semilung.report.page.page_environment", Blank)
    whole = pd.read_csv(intact / name, dtype=str)
    codes = {}
    for cell in CELLS:
        table = whole.copy()
        table.loc[1, column] = cell
        table.to_csv(intact / name, index=False)
        codes[cell], error = report(intact, tmp_path / "out", capsys)
        assert codes[cell] == 0 or f"row 3: {column} must be" in error
    assert codes["words"] == codes["[1]"] == codes["1+2j"] == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation-val-last/cases.csv", "case\nn1\n"),
        ("evaluation-val-last/cases.csv", "\n\n"),
        ("evaluation-val-last/cases.csv", ""),
        ("evaluation-val-last/cases.csv", "\x00\x01"),
        ("evaluation-val-last/cases.csv", '{"case": "n1"}'),
        ("evaluation-val-last/lesions.csv", "case,instance\nn1,1\n"),
        ("metrics.csv", "a,b\n1,2\n"),
        ("config.yaml", "[1, 2]"),
        ("config.yaml", "seed: [1]"),
        ("config.yaml", "seed: .inf"),
        ("config.yaml", "seed: 0\ndata: [1]"),
        ("config.yaml", "seed: 0\nstrategies: 5"),
        ("config.yaml", "seed: 0\nstrategies: {1: {}}"),
    ],
)
def test_report_damaged_table_or_config_is_refused_by_name(intact, tmp_path, capsys, name, content):
    (intact / name).write_text(content)
    code, error = report(intact, tmp_path / "out", capsys)
    assert code == 2
    assert name.split("/")[-1] in error or "damaged" in error


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.csv", "run,arm,seed,split\nr0,supervised,x,val\n"),
        ("results.csv", "run,arm,split\nr0,supervised,val\n"),
        ("results.csv", "run,arm,seed,split\n,supervised,0,val\n"),
        ("results.csv", "run,arm,seed,split\n../a,supervised,0,val\n"),
        ("sweep.yaml", "split: [val]"),
        ("sweep.yaml", "split: ../../val"),
        ("sweep.yaml", "- 1"),
    ],
)
def test_report_damaged_sweep_is_refused_by_name(tmp_path, capsys, name, content):
    sweep = write_sweep(tmp_path / "s", seeds=(0,))
    (sweep / name).write_text(content)
    code, _ = report(sweep, tmp_path / "out", capsys)
    assert code == 2


def test_report_failures_of_any_type_are_shown(tmp_path):
    sweep = write_sweep(tmp_path / "s", seeds=(0,))
    (sweep / "failures.csv").write_text("run,arm,message,5\nx,mil,,=1\ny,,2.5,\n")
    page = write_html([sweep])
    assert "The comparison excludes 2 failed runs" in page.read_text()
    assert "'=1" in (page.parent / "tables/failures.csv").read_text()


def test_report_overlays_folder_linked_from_outside_is_not_shown(intact, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "n1.png").write_bytes(PNG)
    for picture in (intact / "evaluation-val-last/overlays").iterdir():
        picture.unlink()
    (intact / "evaluation-val-last/overlays").rmdir()
    (intact / "evaluation-val-last/overlays").symlink_to(secret)
    text = write_html([intact], tmp_path / "out").read_text()
    assert "data:image/png" not in text
    assert "lies outside the run" in text


@pytest.mark.parametrize("kind", ["file", "loop", "text", "folder"])
def test_report_overlay_that_is_no_picture_of_the_run_is_not_shown(intact, tmp_path, kind):
    for picture in (intact / "evaluation-val-last/overlays").iterdir():
        picture.unlink()
        if kind == "text":
            picture.write_text("root:x:0:0")
        elif kind == "folder":
            picture.mkdir()
        else:
            (tmp_path / "p.png").write_bytes(PNG)
            picture.symlink_to(tmp_path / "p.png" if kind == "file" else picture)
    assert "data:image/png" not in write_html([intact], tmp_path / "out").read_text()


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "evaluation-val-last/cases.csv", "evaluation-val-last/lesions.csv",
     "metrics.csv", *JSONS],
)  # fmt: skip
def test_report_file_linked_from_outside_is_refused(intact, tmp_path, name):
    content = (intact / name).read_bytes() if (intact / name).is_file() else b"{}"
    (tmp_path / "outside").write_bytes(content)
    (intact / name).unlink(missing_ok=True)
    (intact / name).symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="is a symbolic link that leads out of"):
        write_html([intact], tmp_path / "out")


def test_report_run_of_a_sweep_linked_from_outside_is_refused(tmp_path):
    sweep = write_sweep(tmp_path / "s", seeds=(0,))
    (sweep / "runs/r0").rename(tmp_path / "r0")
    (sweep / "runs/r0").symlink_to(tmp_path / "r0")
    with pytest.raises(UserError, match="names a run outside the sweep"):
        write_html([sweep])


@pytest.mark.parametrize("name", ["report", "report/tables"])
def test_report_is_not_written_through_a_link(intact, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (intact / name).parent.mkdir(exist_ok=True)
    (intact / name).symlink_to(outside)
    with pytest.raises(UserError, match="leads out of"):
        write_html([intact])
    assert not list(outside.iterdir())


def test_report_of_a_run_folder_that_is_itself_a_link_is_made(intact, tmp_path):
    (tmp_path / "link").symlink_to(intact)
    assert write_html([tmp_path / "link"], tmp_path / "out").is_file()


def test_report_case_name_too_long_for_a_file_or_with_odd_characters_is_harmless(tmp_path):
    names = ("x" * 5000, "=1+1", "a\x1b[31mb", "n4")
    splits = {name: {"role": "labelled", "split": "val"} for name in names}
    run = write_run(tmp_path / "a", cases(DICE, nodules=names), splits=splits)
    assert yaml.safe_load((run / "config.yaml").read_text())
    assert write_html([run]).is_file()


@pytest.mark.parametrize("name", ["NA", "nan", "None", "null", "N/A"])
def test_report_names_that_pandas_takes_for_missing_are_kept(tmp_path, name, capsys):
    table = cases(DICE).replace({"case": {"n1": name}, "cohort": {"covid": name}})
    run = write_run(tmp_path / "a", table)
    code, error = report(run, tmp_path / "out", capsys)
    assert (code, error) == (0, "")
    rows = read_cases(run / "evaluation-val-last/cases.csv", run, build_tasks())
    assert rows["case"].tolist() == table["case"].tolist()
    assert set(rows["cohort"]) == {"lidc", name}
    assert rows["dice"].notna().tolist() == table["dice"].notna().tolist()


def test_report_swept_value_named_nan_is_a_value_and_an_absent_number_none(tmp_path):
    text = "run,arm,seed,split,model.name,seconds\na,NA,0,val,nan,NaN\nb,NA,0,val,,1.5\n"
    (tmp_path / "results.csv").write_text(text)
    rows = read_table(tmp_path / "results.csv", tmp_path, RESULTS)
    assert rows["arm"].tolist() == ["NA", "NA"]
    assert rows["model.name"].isna().tolist() == [False, True]
    assert rows["seconds"].isna().tolist() == [True, False]


def test_report_row_without_a_name_is_refused(intact, tmp_path, capsys):
    path = intact / "evaluation-val-last/cases.csv"
    path.write_text(path.read_text().replace("\nn1,", "\n,"))
    code, error = report(intact, tmp_path / "out", capsys)
    assert code == 2
    assert "row 2: case must be a name" in error
