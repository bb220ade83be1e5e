"""Tables of features and targets: joined, checked, and never mixed."""

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
    assert (study.left_out, study.source) == (6, "readers")


def test_study_features_that_are_empty_or_infinite_are_missing(tables):
    edited(tables[0], planted=["", "inf", "nan"] + ["1.5"] * 77)
    assert read(tables).features["planted"].isna().tolist() == [True] * 3 + [False] * 77


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
    assert first.startswith("1 of 80 nodules of")
    assert "nodule 1 of c079" in first
    assert second.startswith("2 of 80 nodules of")


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
        (0, {"patient": ""}, "80 nodules have no patient"),
        (0, {"diameter_mm": "0"}, "no diameter above 0"),
        (0, {"diameter_mm": ""}, "no diameter above 0"),
        (0, {"planted": "round"}, "column 'planted' holds 'round', which is no number"),
        (1, {"malignancy": None}, "has no column 'malignancy'"),
        (1, {"malignancy": "3"}, "no nodule has features.*Values of 'malignancy': 3$"),
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
