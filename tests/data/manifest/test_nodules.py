"""`nodules.csv`: what is read, what is refused, and that writing and reading agree."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semilung.csv_tables import write_csv
from semilung.data.manifest.nodules import Nodule, nodule_row, read_nodules
from semilung.types import UserError

HEADER = "case,nodule,x_mm,y_mm,z_mm,diameter_mm,ignored,source,malignancy\n"


def table(tmp_path, *rows, header=HEADER):
    path = tmp_path / "nodules.csv"
    path.write_text(header + "\n".join(rows) + "\n")
    return path


def test_read_nodules_of_two_cases_gives_centres_diameters_and_targets(tmp_path):
    path = table(
        tmp_path, "a,1,-10.5,20,-300,8.5,,readers,4", "a,2,1,2,3,,1,,", "b,1,0,0,0,30,0,,2"
    )
    nodules, errors = read_nodules(path)
    assert errors == []
    assert nodules == {
        "a": (
            Nodule("1", (-10.5, 20, -300), 8.5, source="readers", targets={"malignancy": "4"}),
            Nodule("2", (1, 2, 3), ignored=True),
        ),
        "b": (Nodule("1", (0, 0, 0), 30, targets={"malignancy": "2"}),),
    }


def test_read_nodules_with_semicolons_and_decimal_commas_gives_the_same_numbers(tmp_path):
    header = "case;nodule;x_mm;y_mm;z_mm;diameter_mm\n"
    nodules, errors = read_nodules(table(tmp_path, "a;1;-10,5;20;3;8,5", header=header))
    assert errors == []
    assert nodules == {"a": (Nodule("1", (-10.5, 20, 3), 8.5),)}


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (",1,1,2,3,4,,,", "case"),
        ("a,,1,2,3,4,,,", "nodule"),
        ("a,0,1,2,3,4,,,", "nodule"),  # the first row's
        ("a,1,one,2,3,4,,,", "x_mm"),
        ("a,1,1,,3,4,,,", "y_mm"),
        ("a,1,1,2,nan,4,,,", "z_mm"),
        ("a,1,1,2,1e9,4,,,", "z_mm"),
        ("a,1,1,2,3,0,,,", "diameter_mm"),
        ("a,1,1,2,3,-4,,,", "diameter_mm"),
        ("a,1,1,2,3,301,,,", "diameter_mm"),
        ("a,1,1,2,3,inf,,,", "diameter_mm"),
        ("a,1,1,2,3,4,yes,,", "ignored"),
    ],
)
def test_read_nodules_with_an_invalid_cell_names_row_and_column(tmp_path, row, column):
    nodules, errors = read_nodules(table(tmp_path, "a,0,1,2,3,4,,,", row))
    assert [(error.row, error.column) for error in errors] == [(3, column)]
    assert [nodule.name for nodule in nodules["a"]] == ["0"]


def test_read_nodules_without_a_required_column_lists_it_with_those_there_are(tmp_path):
    path = table(tmp_path, "a,1,2,3", header="case,Nodule,coordX,coordY\n")
    nodules, errors = read_nodules(path)
    assert nodules == {}
    assert [error.column for error in errors] == ["nodule", "x_mm", "y_mm", "z_mm", "Nodule"]
    assert "missing column; the columns found are: case, Nodule, coordX" in errors[0].message
    assert {error.row for error in errors} == {1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file was found"),
        (b"PK\x03\x04", "Excel workbook"),
        (b"{}", "but JSON"),
        (b"<p>", "HTML"),
        (b'a,"b\n', "not a CSV table"),
    ],
)
def test_read_nodules_of_another_kind_of_file_speaks_of_its_own_columns(tmp_path, content, message):
    path = tmp_path / "nodules.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_nodules(path)
    assert "columns case, nodule, x_mm, y_mm and z_mm, one row a nodule" in str(error.value)
    assert "manifest" not in str(error.value).replace(str(tmp_path), "")


names = st.text("abc=+-@'", min_size=1, max_size=4)
millimetres = st.floats(-1e5, 1e5)
nodules_drawn = st.builds(
    Nodule,
    name=names,
    centre_mm=st.tuples(millimetres, millimetres, millimetres),
    diameter_mm=st.none() | st.floats(1e-3, 300),
    ignored=st.booleans(),
    source=st.sampled_from(["", "pathology"]),
    targets=st.dictionaries(st.sampled_from(["malignancy", "texture"]), names, max_size=2),
)


@given(st.lists(nodules_drawn, min_size=1, max_size=4, unique_by=lambda nodule: nodule.name))
def test_read_nodules_of_written_rows_gives_the_nodules_back(tmp_path_factory, nodules):
    path = tmp_path_factory.mktemp("nodules") / "nodules.csv"
    write_csv(path, pd.DataFrame([nodule_row("a", nodule) for nodule in nodules]))
    assert read_nodules(path) == ({"a": tuple(nodules)}, [])


def test_read_nodules_with_a_misspelt_optional_column_names_it(tmp_path):
    header = "case,nodule,x_mm,y_mm,z_mm,Diameter_mm\n"
    _, errors = read_nodules(table(tmp_path, "a,1,1,2,3,8", header=header))
    assert [(e.row, e.column, e.message) for e in errors] == [
        (1, "Diameter_mm", "is not read; rename it to 'diameter_mm'")
    ]
