from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semilung.data.manifest.cases import Case
from semilung.data.manifest.splits import (
    apply_label_budget,
    assign_splits,
    keep_healthy,
    read_splits,
)
from semilung.types import ROLES, UserError


def case(number, role="labelled", patient=None, split=None, bag_label=None):
    mask = Path("m") if role == "labelled" else None
    name, patient = f"c{number}", patient or f"p{number}"
    return Case(name, patient, Path("i"), role, mask, bag_label=bag_label, split=split)


def some_cases():
    rows = st.tuples(st.sampled_from(ROLES), st.integers(0, 12))
    return st.lists(rows, min_size=1, max_size=40).map(
        lambda drawn: [case(i, role, f"p{patient}") for i, (role, patient) in enumerate(drawn)]
    )


@given(cases=some_cases(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_assign_splits_never_shares_a_patient_and_ignores_order(cases, seed):
    options = {"seed": seed, "val_fraction": 0.3, "test_fraction": 0.2}
    split = {c.case: c.split for c in assign_splits(cases, **options)}
    homes = {(c.patient, split[c.case]) for c in cases}
    assert len(homes) == len({c.patient for c in cases})
    assert split == {c.case: c.split for c in assign_splits(cases[::-1], **options)}


def test_assign_splits_fractions_hold_within_each_role():
    cases = [case(i, "labelled" if i < 20 else "healthy") for i in range(60)]
    split = assign_splits(cases, seed=1, val_fraction=0.25, test_fraction=0.1)
    assert Counter((c.role, c.split) for c in split) == {
        ("labelled", "test"): 2,
        ("labelled", "val"): 5,
        ("labelled", "train"): 13,
        ("healthy", "test"): 4,
        ("healthy", "val"): 10,
        ("healthy", "train"): 26,
    }


@given(cases=some_cases(), seed=st.integers(0, 1000), test=st.sampled_from([0, 0.2, 0.5, 0.7]))
@settings(max_examples=200, deadline=None)
def test_assign_splits_with_two_patients_of_a_role_has_it_in_train_and_val(cases, seed, test):
    split = assign_splits(cases, seed=seed, val_fraction=0.05, test_fraction=test)
    for role in ("labelled", "healthy", "weak"):
        patients = {c.patient: c.split for c in split if c.role == role}
        mixed = any(c.role != role and c.patient in patients for c in cases)
        if len(patients) >= 2 and not mixed:
            assert {"train", "val"} <= set(patients.values())


@pytest.mark.parametrize("seed", range(8))
def test_assign_splits_with_few_patients_leaves_something_to_learn_and_to_evaluate(seed):
    cases = [case(i, "healthy", patient=f"h{i % 2}") for i in range(20)]
    cases += [case(30, patient="l0"), case(31, patient="l1"), case(32, "healthy", patient="l0")]
    split = assign_splits(cases, seed=seed, val_fraction=0.2, test_fraction=0.2)
    homes = {(c.role, c.split) for c in split}
    assert homes == {(r, s) for r in ("healthy", "labelled") for s in ("train", "val")}


def test_assign_splits_without_validation_or_with_a_stated_one_draws_none():
    cases = [case(i) for i in range(4)]
    split = assign_splits(cases, seed=0, val_fraction=0, test_fraction=0)
    assert {c.split for c in split} == {"train"}
    healthy = [case(i, "healthy") for i in range(4, 8)]
    split = assign_splits(
        [case(0, split="val"), *healthy], seed=0, val_fraction=0.2, test_fraction=0
    )
    assert [c.split for c in split[1:]] == ["train"] * 4


def test_assign_splits_other_seed_gives_other_splits():
    cases = [case(i) for i in range(30)]
    one, two = (assign_splits(cases, seed=s, val_fraction=0.5, test_fraction=0) for s in (0, 1))
    assert [c.split for c in one] != [c.split for c in two]


def test_assign_splits_keeps_stated_splits_and_adds_none_to_a_stated_test_set():
    cases = [case(i, split="test" if i < 3 else None) for i in range(23)]
    cases.append(case(99, patient="p0"))
    split = assign_splits(cases, seed=0, val_fraction=0.2, test_fraction=0.5)
    assert [c.case for c in split if c.split == "test"] == ["c0", "c1", "c2", "c99"]
    assert sum(c.split == "val" for c in split) == 4


def test_assign_splits_unlabelled_patients_stay_in_train():
    split = assign_splits(
        [case(i, "unlabelled") for i in range(10)], seed=0, val_fraction=0.4, test_fraction=0.4
    )
    assert {c.split for c in split} == {"train"}


def test_assign_splits_folds_validate_every_patient_once_and_keep_test():
    cases = [case(i, "labelled" if i < 12 else "healthy", split="train") for i in range(24)]
    cases += [case(50, split="val"), case(51, split="test")]
    seen = Counter()
    for fold in range(5):
        split = assign_splits(
            cases, seed=0, val_fraction=0.2, test_fraction=0.2, folds=5, fold=fold
        )
        assert split[-1].split == "test"
        val = [c for c in split if c.split == "val"]
        assert {c.role for c in val} == {"labelled", "healthy"}
        seen.update(c.case for c in val)
    assert seen == Counter(c.case for c in cases[:-1])


def test_assign_splits_more_folds_than_labelled_patients_is_refused():
    cases = [case(i) for i in range(3)]
    with pytest.raises(UserError, match="only 3 patients"):
        assign_splits(cases, seed=0, val_fraction=0, test_fraction=0, folds=5)


@given(small=st.integers(1, 12), more=st.integers(0, 8), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_apply_label_budget_is_nested_and_keeps_validation(small, more, seed):
    cases = [case(i, split="train") for i in range(20)] + [case(30, split="val")]

    def kept(budget):
        after = apply_label_budget(cases, labelled=budget, rest="unlabelled", seed=seed)
        assert after[-1] == cases[-1]
        return {c.case for c in after if c.role == "labelled" and c.split == "train"}

    assert len(kept(small)) == small
    assert kept(small) <= kept(small + more)


def test_apply_label_budget_rest_becomes_unlabelled_weak_or_dropped():
    cases = [case(i, split="train", bag_label=1) for i in range(3)]
    for rest, mask_free, bag in (("unlabelled", 2, None), ("weak", 2, 1)):
        after = apply_label_budget(cases, labelled=1, rest=rest, seed=0)
        demoted = [c for c in after if c.role == rest]
        assert len(demoted) == mask_free
        assert all(c.mask is None and c.bag_label == bag for c in demoted)
    assert len(apply_label_budget(cases, labelled=1, rest="drop", seed=0)) == 1
    assert apply_label_budget(cases, labelled=None, rest="drop", seed=0) == cases


def test_apply_label_budget_above_the_labelled_cases_is_refused():
    with pytest.raises(UserError, match=r"data\.labelled=3.*there are 2"):
        apply_label_budget(
            [case(i, split="train") for i in range(2)], labelled=3, rest="drop", seed=0
        )


@given(small=st.integers(1, 8), more=st.integers(0, 4), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_keep_healthy_is_nested_and_keeps_all_other_cases(small, more, seed):
    healthy = [case(i, "healthy", split="train") for i in range(12)]
    others = [case(20, split="train"), case(30, "healthy", split="val")]

    def kept(count):
        after = keep_healthy(healthy + others, count, seed=seed)
        assert after[-2:] == others
        return {c.case for c in after[:-2]}

    assert len(kept(small)) == small
    assert kept(small) <= kept(small + more)
    assert kept(None) == {c.case for c in healthy}


def test_keep_healthy_above_the_healthy_cases_is_refused():
    with pytest.raises(UserError, match=r"data\.healthy=3.*there are 2"):
        keep_healthy([case(i, "healthy", split="train") for i in range(2)], 3, seed=0)


def test_apply_label_budget_weak_without_scan_level_label_is_refused():
    with pytest.raises(UserError, match="bag_label"):
        apply_label_budget(
            [case(i, split="train") for i in range(2)], labelled=1, rest="weak", seed=0
        )


def test_read_splits_returns_the_saved_ones(tmp_path):
    saved = {
        "a": {"split": "train", "role": "labelled"},
        "b": {"split": "test", "role": "healthy"},
    }
    (tmp_path / "splits.json").write_text(json.dumps(saved))
    assert read_splits(tmp_path / "splits.json") == saved


@pytest.mark.parametrize(
    "row",
    [
        {"split": "train", "role": "oracle"},
        {"split": "holdout", "role": "labelled"},
        {"split": "train"},
        {"role": "labelled"},
        "train",
        None,
    ],
)
def test_read_splits_case_without_split_or_role_is_refused(tmp_path, row):
    saved = {"a": {"split": "train", "role": "labelled"}, "b": row}
    (tmp_path / "splits.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"splits\.json holds no splits and roles"):
        read_splits(tmp_path / "splits.json")


def test_read_splits_list_is_refused(tmp_path):
    (tmp_path / "splits.json").write_text("[]")
    with pytest.raises(UserError, match=r"splits\.json holds no splits and roles"):
        read_splits(tmp_path / "splits.json")
