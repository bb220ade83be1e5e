"""Settings of a study, and their mistakes."""

import math

import pytest

from semilung.api.characterization_inputs import study_settings
from semilung.types import UserError


def test_settings_read_spellings_and_any_number_of_bins():
    settings = study_settings(["negative=[benign]", "positive=[primary,metastasis]"])
    assert settings.binary_target().number("metastasis") == 1
    quoted = study_settings(['negative=["no"]', 'positive=["yes","True"]']).binary_target()
    assert [quoted.number(text) for text in ("no", "yes", "True")] == [0, 1, 1]
    assert study_settings(["size_bins_mm=[8]"]).bins_mm() == [(0, 8), (8, math.inf)]
    assert study_settings(["characterize.size_bins_mm=[]"]).bins_mm() == [(0, math.inf)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("folds=1", r"characterize\.folds=1 is out of range"),
        ("repeats=0", r"characterize\.repeats=0 is out of range"),
        ("redundancy=0", r"characterize\.redundancy=0 is out of range"),
        ("stability=1.5", r"characterize\.stability=1\.5 is out of range"),
        ("seed=-1", r"characterize\.seed=-1 is out of range"),
        ("size_bins_mm=[15,6]", r"size_bins_mm=\[15, 6\] must ascend"),
        ("size_bins_mm=[6,x]", r"size_bins_mm: a list of numbers is wanted"),
        ("models=[forest]", r"models=\['forest'\] must name at least one of logistic, boosting"),
        ("models=[]", r"models=\[\] must name"),
        ("positive=[2,4]", r"a value occurs twice"),
        ("negative=[]", r"needs values of both classes"),
        ("external_positive=[0]", r"target 'malignant': a value occurs twice"),
        ("negative=[no]", r'negative=\[False\] .* negative=\["no"\] in quotes'),
        ("external_positive=[true]", r"target 'malignant': .* booleans of YAML"),
        ("positive=4", r"positive: a list of values is wanted, found 4"),
        ("fold=3", r"did you mean characterize\.folds"),
    ],
)
def test_settings_that_are_invalid_are_refused_by_name(word, message):
    with pytest.raises(UserError, match=message):
        study_settings([word])
