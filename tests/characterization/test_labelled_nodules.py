"""Tables of features and targets: joined, checked, and never mixed."""

import math
import warnings

import pandas as pd
import pytest
from nodule_tables import edited, nodule_tables

from semilung.characterization import CharacterizationSettings, read_study
from semilung.types import UserError

MIXED = ["pathology"] * 10 + ["readers"] * 70


@pytest.fixture
def tables(tmp_path):
    return nodule_tables(tmp_path)


def read(tables, **settings):
    return read_study(*tables, CharacterizationSettings(**settings))


def test_study_has_labelled_nodules_in_the_order_of_their_names(tables):
    table = pd.read_csv(tables[1])
    table.loc[:4, "malignancy"] = 3
    table.assign(ignored=[0] * 79 + [1]).to_csv(tables[1], index=False)
    pd.read_csv(tables[0]).iloc[::-1].to_csv(tables[0], index=False)
    study = read(tables)
    assert study.nodules["case"].tolist() == [f"c{i:03}" for i in range(5, 79)]
    assert study.nodules["label"].tolist() == [i % 2 for i in range(5, 79)]
    assert [*study.features.columns[:2]] == ["planted", "noise_0"]
    assert (study.left_out, study.source) == (5, "readers")


@pytest.mark.parametrize("source", ["readers", "pathology"])
def test_study_of_a_table_with_a_row_of_each_source_is_of_the_chosen_one(tables, source):
    readers = pd.read_csv(tables[1])
    readers.loc[:4, "malignancy"] = 3
    pathology = readers.iloc[:60].assign(source="pathology", malignancy=[1, 5] * 29 + [3, None])
    unmeasured = pathology.iloc[:1].assign(case="x")
    ignored = pathology.assign(ignored="1")
    pd.concat([readers, pathology, ignored, unmeasured]).to_csv(tables[1], index=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study = read(tables, source=source)
    texts = [str(warning.message) for warning in caught if "left out" in str(warning.message)]
    shares = [text.split(" nodules of")[0] for text in texts]
    expected = {"readers": (75, 5, []), "pathology": (58, 1, ["20 of 80", "1 of 61"])}
    assert (len(study.nodules), study.left_out, shares) == expected[source]


@pytest.mark.parametrize("spelling", ["yes", "TRUE", "2"])
def test_study_of_an_unknown_spelling_of_ignored_is_refused(tables, spelling):
    edited(tables[1], ignored=["0"] * 79 + [spelling])
    with pytest.raises(UserError, match=rf"ignored must be 0, 1 or empty, not '{spelling}' \(1 "):
        read(tables)


def test_study_names_values_that_no_nodule_has(tables):
    with pytest.warns(UserWarning, match=r"'malignancy' of 'high', '9', as .* are: '\d', "):
        read(tables, positive=("high", 4, 5, 9))


def test_study_names_a_nodule_whose_number_is_written_differently(tables):
    edited(tables[1], nodule="1.0")
    with (
        pytest.warns(UserWarning, match=r"nodule 1 of c000: '1\.0' there is the same number"),
        pytest.raises(UserError, match="no nodule has features"),
    ):
        read(tables)


def test_study_features_that_are_empty_or_infinite_are_missing(tables):
    empty = ["", "inf", "nan", "NA", "n/a", "None", "null", "-"]
    edited(tables[0], planted=empty + ["1.5", "1,5"] * 36)
    planted = read(tables).features["planted"].tolist()
    assert planted == pytest.approx([math.nan] * 8 + [1.5] * 72, nan_ok=True)


def test_study_of_mixed_sources_is_refused_with_counts_until_one_is_chosen(tables):
    edited(tables[1], source=MIXED)
    with pytest.raises(UserError, match=r"\(readers: 70, pathology: 10\).*source=pathology"):
        read(tables)
    assert len(read(tables, source="readers").nodules) == 70
    with pytest.raises(UserError, match=r"source=reader: no labelled.*did you mean readers"):
        read(tables, source="reader")
    edited(tables[1], source=["", *MIXED[1:]])
    with pytest.raises(UserError, match=r"\(empty\): 1"):
        read(tables)


def test_study_of_sources_that_differ_among_unlabelled_nodules_alone_is_fine(tables):
    edited(tables[1], source=MIXED, malignancy=["3"] * 10 + ["1", "5"] * 35)
    assert read(tables).source == "readers"


@pytest.mark.parametrize("name", ["malignancy", "spiculation"])
def test_study_with_ratings_among_the_features_is_refused(tables, name):
    edited(tables[1], spiculation="3")
    edited(tables[0], **{name: "1"})
    with pytest.raises(UserError, match=rf"has the columns {name}, .* no features"):
        read(tables)


def test_study_warns_of_a_feature_that_separates_the_classes(tables):
    rank = [str(1 - i % 2 + 0.001 * i) for i in range(80)]
    edited(tables[0], leak=rank)
    with pytest.warns(UserWarning, match="leak alone separates the classes perfectly"):
        read(tables)


def test_study_counts_nodules_that_one_table_lacks(tables):
    pd.read_csv(tables[0]).iloc[2:].to_csv(tables[0], index=False)
    pd.read_csv(tables[1]).iloc[:-1].to_csv(tables[1], index=False)
    with pytest.warns(UserWarning, match="are left out, such as") as warned:
        assert len(read(tables).nodules) == 77
    first, second = (str(warning.message) for warning in warned)
    assert first.startswith("1 of 78 nodules of")
    assert "nodule 1 of c079" in first
    assert second.startswith("2 of 79 nodules of")


@pytest.mark.parametrize("index", [0, 1])
def test_study_with_a_nodule_twice_is_refused(tables, index):
    table = pd.read_csv(tables[index])
    pd.concat([table, table.iloc[:1]]).to_csv(tables[index], index=False)
    with pytest.raises(UserError, match=r"nodule '1' of 'c000' is there twice \(1 such rows\)"):
        read(tables)


@pytest.mark.parametrize(
    ("index", "columns", "message"),
    [
        (0, {"patient": None}, "is without the columns patient"),
        (0, {"patient": None, "patients": "p"}, r"columns patient; did you mean patients\?"),
        (0, {"planted": "1,234.5"}, "column 'planted' holds '1,234.5', which is no number"),
        (0, {"patient": ""}, "80 nodules have no patient"),
        (0, {"diameter_mm": "0"}, "no diameter above 0"),
        (0, {"diameter_mm": ""}, "no diameter above 0"),
        (0, {"planted": "round"}, "column 'planted' holds 'round', which is no number"),
        (1, {"malignancy": None}, "has no column 'malignancy'"),
        (1, {"malignancy": "3"}, "no nodule has features.*Values of 'malignancy': '3'$"),
        (1, {"case": "x"}, "is there twice"),
        (1, {"nodule": "7"}, "no nodule has features"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*are left out")
def test_study_of_invalid_tables_is_refused(tables, index, columns, message):
    edited(tables[index], **columns)
    with pytest.raises(UserError, match=message):
        read(tables)


def test_study_without_features_is_refused(tables):
    table = pd.read_csv(tables[0])
    table[["case", "patient", "nodule", "diameter_mm"]].to_csv(tables[0], index=False)
    with pytest.raises(UserError, match="is without any feature"):
        read(tables)
