"""Tables that a spreadsheet opens without running a cell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import semilung
from semilung.csv_tables import read_cell, safe_cell, write_csv
from semilung.data.manifest.cases import MANIFEST
from semilung.data.manifest.table_file import read_table
from semilung.evaluation import Report, write_report

FORMULAS = ("=cmd|'/c calc'!A1", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1+1", "'=1")


@pytest.mark.parametrize("text", FORMULAS)
def test_write_csv_formula_in_any_cell_is_marked_as_text(tmp_path, text):
    table = pd.DataFrame({text: [text, "n1"], "group": pd.Categorical([text, "b"])})
    write_csv(tmp_path / "t.csv", table)
    raw = pd.read_csv(tmp_path / "t.csv", dtype=str, lineterminator="\n")
    cells = [*raw.columns, *raw.to_numpy().ravel()]
    assert sum(cell.startswith("'") for cell in cells) == 3
    assert not any(cell[0] in "=+-@\t\r\uff1d" for cell in cells)


def test_write_csv_numbers_stay_numbers_and_zero_has_no_sign(tmp_path):
    numbers = [-0.0, -1.5, np.nan]
    table = pd.DataFrame({"value": numbers, "count": [-1, 0, 1], "text": ["-1", "+1e-3", "a"]})
    write_csv(tmp_path / "t.csv", table)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines == ["value,count,text", "0.0,-1,-1", "-1.5,0,+1e-3", ",1,a"]


@given(st.text(alphabet="'=+-@\t\rab1. "))
def test_read_cell_of_a_safe_cell_is_the_text(text):
    assert read_cell(safe_cell(text)) == text


def test_manifest_written_by_semilung_gives_back_its_names(tmp_path):
    write_csv(tmp_path / "m.csv", pd.DataFrame({"case": ["-a+b", "@x", "n"]}))
    assert read_table(tmp_path / "m.csv", MANIFEST)["case"].tolist() == ["-a+b", "@x", "n"]


def test_evaluation_tables_hold_no_formula(tmp_path):
    name = "=HYPERLINK(1)"
    cases = pd.DataFrame(
        {"case": [name], "cohort": ["+x+"], "dice": [0.5], "surface_dice_2mm": [0.5],
         "hd95_mm": [1.0], "reference_volume_mm3": [1.0], "predicted_volume_mm3": [1.0],
         "fp_components": [0], "fp_volume_mm3": [0.0]}
    )  # fmt: skip
    lesions = pd.DataFrame(
        {"case": [name], "instance": [1], "diameter_mm": [8.0], "detected": [True], "dice": [0.5]}
    )
    write_report(Report(cases, lesions), tmp_path)
    for table in ("cases", "lesions"):
        assert (tmp_path / f"{table}.csv").read_text().splitlines()[1].startswith("'=HYPER")


def test_no_module_writes_csv_past_the_helper():
    package = Path(semilung.__file__).parent
    writers = [path for path in package.rglob("*.py") if ".to_csv(" in path.read_text()]
    assert [path.name for path in writers] == ["csv_tables.py"]
