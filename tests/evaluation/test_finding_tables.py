"""Tables of findings: what is read of them, and the message of each mistake."""

import numpy as np
import pandas as pd
import pytest
from finding_rows import NODULE, findings, froc, marks

from semilung.evaluation.finding_tables import DETECTION_COLUMNS, finding_table
from semilung.types import UserError

ONE = marks(("a", 0, 0, 0, 0.5), ("a", 1, 0, 0, 0.25))


@pytest.mark.parametrize("column", DETECTION_COLUMNS)
def test_luna16_froc_without_a_column_is_an_error(column):
    with pytest.raises(UserError, match=f"detections: the column {column} is missing") as error:
        froc(ONE.drop(columns=column), findings(NODULE))
    assert all(name in str(error.value) for name in DETECTION_COLUMNS)


def test_luna16_froc_annotations_and_excluded_without_a_column_are_errors():
    for tables in ((ONE, ONE), (ONE, findings(NODULE), ONE)):
        with pytest.raises(UserError, match="the column diameter_mm is missing"):
            froc(*tables)


@pytest.mark.parametrize("value", [np.nan, None, np.inf, "", "high", "0,5"])
@pytest.mark.parametrize("column", ["probability", "coordY"])
def test_luna16_froc_a_value_that_is_no_number_is_an_error_with_its_row(column, value):
    table = ONE.astype({column: object})
    table.loc[1, column] = value
    with pytest.raises(UserError, match=rf"{column} must be a finite number.* row 2 of 2"):
        froc(table, findings(NODULE))


def test_luna16_froc_nan_diameter_is_an_error():
    with pytest.raises(UserError, match="annotations: diameter_mm must be a finite number, got"):
        froc(ONE, findings(("a", 0, 0, 0, np.nan)))


@pytest.mark.parametrize("name", [None, np.nan, "", " "])
def test_luna16_froc_a_scan_without_a_name_is_an_error(name):
    with pytest.raises(UserError, match="detections: seriesuid must be a scan's name, got"):
        froc(marks((name, 0, 0, 0, 0.5)), findings(NODULE))


def test_finding_table_reads_numbers_of_any_type_and_names_as_text():
    table = pd.DataFrame(
        {
            "seriesuid": [7, 8],
            "coordX": ["-1.5", "2e1"],
            "coordY": pd.array([1, 2], dtype="Int64"),
            "coordZ": np.array([1, 2], np.float32),
            "probability": [1, 0],
            "reader": ["x", None],
        }
    )
    checked = finding_table(table, DETECTION_COLUMNS, "detections")
    assert checked["seriesuid"].tolist() == ["7", "8"]
    assert checked.iloc[:, 1:].to_numpy().tolist() == [[-1.5, 1, 1, 1], [20, 2, 2, 0]]
    assert list(checked) == list(DETECTION_COLUMNS)
    twice = pd.concat([ONE, ONE["probability"]], axis=1)
    with pytest.raises(UserError, match="probability is there twice"):
        finding_table(twice, DETECTION_COLUMNS, "detections")


@pytest.mark.parametrize(
    ("scans", "message"),
    [
        ([], "no scan is listed"),
        (["a", "b", "a"], "lists a twice"),
        (["a", ""], "seriesuids: seriesuid must be a scan's name, got '' in row 2 of 2"),
        (["a", np.nan], "must be a scan's name, got nan"),
        ("ab", "a sequence of names, got a str"),
        (ONE, "a sequence of names, got a DataFrame"),
    ],
)
def test_luna16_froc_scans_are_named_once_each(scans, message):
    with pytest.raises(UserError, match=message):
        froc(ONE, findings(NODULE), scans=scans)


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, iter])
def test_luna16_froc_scans_may_be_any_sequence(kind):
    assert froc(ONE, findings(NODULE), scans=kind(["a", "b"])).cpm == 1
