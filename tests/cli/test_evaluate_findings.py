"""`semilung evaluate --findings`: FROC of anybody's CSV, and the message of each mistake."""

import pandas as pd
import pytest
from commands import run
from finding_rows import NODULE, findings, marks

from semilung.api.evaluate_findings import evaluate_findings


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Words of a command on three scans, whose tables are in the present folder."""
    monkeypatch.chdir(tmp_path)
    rows = [("a", 0, 0, 0, 0.9), ("a", 50, 0, 0, 0.8), ("b", 9, 9, 9, 1), ("b", 0, 0, 0, 0.5)]
    marks(*rows).to_csv("f.csv", index=False)
    findings(NODULE, ("c", 0, 0, 0, 4)).to_csv("a.csv", index=False)
    findings(("b", 9, 9, 9, -1)).to_csv("e.csv", index=False)
    (tmp_path / "s.csv").write_text("a\nb\nc\nd\n")
    return ["evaluate", "--findings", "f.csv", "--annotations", "a.csv"]


def values(path):
    return pd.read_csv(path).set_index("metric")["value"].to_dict()


def test_evaluate_findings_prints_and_writes_the_table(tables, capsys):
    command = (*tables, "--excluded", "e.csv", "--scans", "s.csv", "--out", "new/t.csv")
    assert run(*command) == 0
    table = values("new/t.csv")
    assert table["sensitivity at 0.125 false positives per scan"] == 0.5
    assert table["CPM"] == 0.5
    assert table["False positives"] == 2
    assert table["Ignored candidates on excluded nodules"] == 1
    assert table["Average number of candidates per scan"] == 1  # scan d, without any row, counts
    printed = capsys.readouterr()
    assert "warning" not in printed.err
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.out.splitlines()]
    assert ["CPM", "0.500", "0.000", "1.000"] in lines
    assert ["False negatives", "1", "-", "-"] in lines
    assert "table: new/t.csv" in printed.out


def test_evaluate_findings_without_scans_takes_those_of_the_tables_and_warns(tables, capsys):
    with pytest.warns(UserWarning, match="the 3 that the tables name are evaluated"):
        assert run(*tables, "--out", "t.csv") == 0
    assert values("t.csv")["Average number of candidates per scan"] == 4 / 3
    assert "CPM" in capsys.readouterr().out


def test_evaluate_findings_in_another_frame_than_the_nodules_warns(tables, recwarn):
    places = [(-60, 20, 5), (35, -80, 90), (70, 15, -40), (-45, -30, 12)]
    findings(*[("a", *place, 8) for place in places]).to_csv("a.csv", index=False)

    def evaluated(sign, hits):
        rows = [("a", sign * x, sign * y, z, 0.9) for x, y, z in places[:hits]]
        marks(*rows, ("b", 9, 9, 9, 1), ("z", 0, 0, 0, 1)).to_csv("f.csv", index=False)
        recwarn.clear()
        froc = evaluate_findings("f.csv", "a.csv", scans="s.csv", bootstrap=0)
        return froc.counts["True positives"], [str(warning.message) for warning in recwarn]

    hits, (left_out, frame) = evaluated(-1, 3)
    assert hits == 0
    assert "left out" in left_out
    assert "f.csv seems not to be in the frame of a.csv" in frame
    for sign, number, true_positives in ((1, 3, 3), (-1, 2, 0), (1, 0, 0)):
        hits, messages = evaluated(sign, number)
        assert (hits, len(messages)) == (true_positives, 1)


@pytest.mark.parametrize("text", ["seriesuid\na\nb\nc\nd\n", "x;seriesuid\n1;a\n2;b\n3;c\n4;d\n"])
def test_evaluate_findings_reads_a_list_of_scans_with_a_header(tables, tmp_path, text):
    (tmp_path / "s.csv").write_text(text)
    assert run(*tables, "--scans", "s.csv", "--out", "t.csv") == 0
    assert values("t.csv")["Average number of candidates per scan"] == 1


def test_evaluate_findings_keeps_names_of_scans_as_they_are_written(tables, tmp_path):
    (tmp_path / "s.csv").write_text("007\n7\n")
    marks(("007", 0, 0, 0, 0.5)).to_csv("f.csv", index=False)
    findings(("007", 0, 0, 0, 6), ("7", 0, 0, 0, 6)).to_csv("a.csv", index=False)
    assert run(*tables, "--scans", "s.csv", "--out", "t.csv") == 0
    assert values("t.csv")["True positives"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs/a"], "takes runs or findings, and RUN cannot go with --findings, --annotations"),
        (["--split", "val"], "--split cannot go with --findings"),
        (["--threshold", "0"], "--threshold cannot go with --findings"),
        (["evaluation.empty=pymic"], "key=value cannot go with --findings"),
        (["--out", "folder"], "not the name of a CSV file"),
        (["--scans", "a.csv.gz"], "a.csv.gz: no such file"),
        (["--scans", "f2.csv"], "f2.csv: the column seriesuid is missing, the columns are x, y"),
        (["--scans", "other.csv"], "f.csv and other.csv have no scan in common"),
        (["--scans", "b.csv"], "a.csv and b.csv have no scan in common"),
        (["--scans", "header.csv"], "header.csv: the first line, case, looks like a header"),
        (["--scans", "twice.csv"], "lists a twice"),
        (["--annotations", "f.csv"], "f.csv: the column diameter_mm is missing"),
        (["--annotations", "other_a.csv"], "f.csv and other_a.csv have no scan in common"),
        (["--findings", "nan.csv"], "nan.csv: probability must be a finite number, got 'x'"),
        (["--findings", "."], "is a folder, not a table of findings"),
    ],
)
def test_evaluate_findings_mistake_gives_one_message(tables, tmp_path, capsys, words, message):
    (tmp_path / "f2.csv").write_text("x,y\na,1\n")
    (tmp_path / "other.csv").write_text("A\nB\n")
    (tmp_path / "b.csv").write_text("b\n")
    (tmp_path / "header.csv").write_text("case\nn1\nn2\n")
    (tmp_path / "twice.csv").write_text("a\nb\na\n")
    findings(("A", 0, 0, 0, 6)).to_csv("other_a.csv", index=False)
    marks(("a", 0, 0, 0, "x")).to_csv("nan.csv", index=False)
    assert run(*tables, "--out", "t.csv", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--findings", "f.csv"], "needs --annotations next to --findings"),
        (["--annotations", "a.csv"], "needs --findings next to --annotations"),
        (["--scans", "s.csv"], "needs --findings next to --scans"),
        ([], "arguments are required: RUN, or --findings F.csv --annotations A.csv"),
    ],
)
def test_evaluate_without_runs_and_complete_tables_says_what_is_missing(capsys, words, message):
    assert run("evaluate", *words) == 2
    assert message in capsys.readouterr().err
