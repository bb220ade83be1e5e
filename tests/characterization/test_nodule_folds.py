"""Folds: patients are never split, classes are, and nothing else changes them."""

import numpy as np
import pandas as pd
import pytest
from nodule_tables import made_study
from sklearn.model_selection import KFold, StratifiedGroupKFold

from semilung.characterization import CharacterizationSettings, fold_table, make_folds, nodule_folds
from semilung.types import UserError

SETTINGS = CharacterizationSettings(folds=4, repeats=2)


@pytest.fixture
def nodules(tmp_path):
    return made_study(tmp_path).nodules


def test_folds_never_have_a_patient_in_two_parts(nodules):
    table = fold_table(nodules, make_folds(nodules, SETTINGS))
    assert table.groupby(["repeat", "fold", "patient"])["part"].nunique().eq(1).all()
    assert len(table) == 2 * 4 * 80
    tested = table[table["part"] == "outer"]
    assert tested.groupby(["repeat", "case"]).size().eq(1).all()
    shares = table.groupby(["repeat", "fold", "part"])["label"].mean()
    assert shares.between(0.35, 0.65).all()


def test_folds_of_repeats_differ_and_depend_on_the_seed_alone(nodules):
    first, again = (make_folds(nodules, SETTINGS) for _ in range(2))
    other = make_folds(nodules, CharacterizationSettings(folds=4, repeats=2, seed=7))
    narrow = CharacterizationSettings(folds=4, repeats=2, inner_folds=3, models=("logistic",))
    for folds, is_equal in ((again, True), (make_folds(nodules, narrow), True), (other, False)):
        same = [np.array_equal(a.outer, b.outer) and np.array_equal(a.inner, b.inner)
                for a, b in zip(first, folds, strict=True)]  # fmt: skip
        assert all(same) == is_equal
    assert not np.array_equal(first[0].outer, first[4].outer)


def test_folds_of_neighbouring_seeds_have_no_repeat_in_common(nodules):
    folds = [
        fold.outer.tolist()
        for seed in (0, 1, 4 * 10**6)
        for fold in make_folds(nodules, CharacterizationSettings(folds=4, repeats=2, seed=seed))
    ]
    assert all(folds.count(fold) == 1 for fold in folds)


def test_folds_of_seed_0_are_those_of_the_repeats_numbers(nodules):
    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=1)
    tested = splitter.split(nodules, nodules["label"], nodules["patient"])
    of_second = [fold.outer.tolist() for fold in make_folds(nodules, SETTINGS) if fold.repeat == 1]
    assert of_second == [test.tolist() for _, test in tested]


def test_folds_that_split_a_patient_are_stopped(nodules, monkeypatch):
    class Plain(KFold):
        def split(self, rows, labels, groups):
            return super().split(rows)

    monkeypatch.setattr(nodule_folds, "StratifiedGroupKFold", Plain)
    with pytest.raises(AssertionError, match="are on both sides of a split"):
        make_folds(nodules, SETTINGS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1] * 3 + [0] * 77, r"at least 4 patients of each class are needed, found .*: 2; add"),
        ([0] * 80, r"one class \(patients negative: 53, positive: 0\)"),
        ([1] * 6 + [0] * 74, r"4 folds need at least 8 patients of each class, found .*folds=2"),
    ],
)
def test_folds_of_too_few_patients_are_refused(nodules, labels, message):
    with pytest.raises(UserError, match=message):
        make_folds(nodules.assign(label=labels), SETTINGS)


def test_folds_that_test_one_patient_of_a_class_are_refused():
    patients = ["big"] * 20 + [f"p{i}" for i in range(30)]
    labels = [1] * 20 + [1] * 3 + [0] * 27
    nodules = pd.DataFrame({"patient": patients, "label": labels})
    with pytest.raises(UserError, match="each needs 2; give fewer folds"):
        make_folds(nodules, CharacterizationSettings(folds=2, repeats=1))
