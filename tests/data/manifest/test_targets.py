"""Targets of characterization: spellings become numbers, or are missing."""

import math

import pytest

from semilung.data.manifest.targets import MALIGNANCY, Target, targets_of


def test_target_number_of_grouped_spellings_and_of_missing_values():
    vote = Target.of("malignancy", {"kind": "binary", "values": [[1, 2], [4, 5]]})
    assert [vote.number(text) for text in ("1", "2.0", " 4 ", "5")] == [0, 0, 1, 1]
    assert all(math.isnan(vote.number(text)) for text in ("3", "", None, "benign"))


def test_target_number_of_names_and_of_a_regression():
    texture = Target.of("texture", {"kind": "classes", "values": ["solid", "ground_glass"]})
    assert (texture.number("ground_glass"), texture.channels) == (1, 2)
    growth = Target.of("growth", {"kind": "regression", "values": [-10, 30]})
    assert growth.number("10") == 0.5
    assert math.isnan(growth.number("fast"))


def test_targets_of_none_is_a_rating_of_malignancy():
    (rating,) = targets_of(None)
    assert (rating.name, rating.kind, rating.channels) == ("malignancy", "ordinal", 4)
    assert targets_of(MALIGNANCY) == (rating,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "binary"}, "needs kind and values"),
        ({"kind": "maybe", "values": [0, 1]}, "kind must be one of binary, ordinal"),
        ({"kind": "binary", "values": [0, 1, 2]}, "a binary one has two values"),
        ({"kind": "ordinal", "values": [1]}, "has two or more values"),
        ({"kind": "classes", "values": ["a", "b", "a"]}, "a value occurs twice"),
        ({"kind": "ordinal", "values": [1, "1.0"]}, "a value occurs twice"),
        ({"kind": "regression", "values": [3, 3.5, 4]}, "has two values"),
        ({"kind": "regression", "values": [4, 3]}, "must run low to high"),
    ],
)
def test_target_of_invalid_options_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Target.of("name", options)


def test_targets_of_an_empty_mapping_is_refused():
    with pytest.raises(ValueError, match="needs a target"):
        targets_of({})
