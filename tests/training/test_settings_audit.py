"""Splits that leave nothing to evaluate, settings without effect, labels that teach nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_runs import tiny_config

from semilung.data import read_volume, write_volume
from semilung.data.manifest.cases import Case
from semilung.data.manifest.split_warnings import split_doubts
from semilung.training import train
from semilung.training.audits import read_audits
from semilung.training.unused_settings import unused_settings
from semilung.types import UserError


def case(name, role, split, patient=None, cohort=""):
    mask = Path(name) if role == "labelled" else None
    return Case(name, patient or name, Path(name), role, mask, split=split, cohort=cohort)


BALANCED = [
    case(f"{r}{s}", r, s) for r in ("labelled", "healthy") for s in ("train", "val", "test")
]


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        (BALANCED, []),
        ([c for c in BALANCED if c.split != "val"], ["case is in val"]),
        ([c for c in BALANCED if c.split == "train"], ["is in val", "is in test"]),
        (BALANCED[:4], ["none of the 1 healthy cases (patients: 1) is in val or test"]),
        (BALANCED[:3] + BALANCED[4:], ["none of the 2 healthy cases (patients: 2) is in train"]),
        (
            BALANCED[:3] + [case(n, "healthy", "train", "p") for n in "ab"],
            ["the 2 healthy cases are of one patient"],
        ),
        (
            [*BALANCED, *(case(n, "unlabelled", "train", "p", "NLST") for n in "ab")],
            ["cohort 'NLST' has 2 cases of one patient"],
        ),
    ],
)
def test_split_doubts_name_what_cannot_be_evaluated(cases, words):
    doubts = list(split_doubts(cases))
    assert len(doubts) == len(words)
    assert all(word in doubt for word, doubt in zip(words, doubts, strict=True))


def test_split_doubts_of_a_cross_validation_ask_for_no_test_set():
    cases = [c for c in BALANCED if c.split != "test"]
    assert len(list(split_doubts(cases))) == 1
    assert list(split_doubts(cases, splits=("val",))) == []


SUPERVISED = {"labelled": ("weak",), "healthy": ("weak",)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"batch": {"labelled": 1, "unlabelled": 1}}, []),
        ({"batch": {"weak": 2}}, ["data.batch.weak=2, as there are no training cases"]),
        ({"batch": {"unlabelled": 8}}, ["data.batch.unlabelled=8, as no strategy reads"]),
        ({"rest": "drop"}, ["data.rest=drop, as data.labelled"]),
        ({"rest": "drop", "labelled": 1}, []),
        ({"folds": 2, "val_fraction": 0.3}, ["data.val_fraction=0.3"]),
        ({"crop_to_lungs": False, "lung_margin_mm": 3.0}, ["data.lung_margin_mm"]),
        ({"bag_size": 4}, ["data.bag_size=4, as no strategy reads bags"]),
    ],
)
def test_unused_settings_of_data_are_those_without_effect(change, words):
    config = tiny_config(Path("m.csv"))
    vars(config.data).update(change)
    sizes = {"labelled": 2, "healthy": 2, "unlabelled": 2}
    unused = list(unused_settings(config, SUPERVISED, sizes, teacher=True))
    assert len(unused) == len(words)
    assert all(word in sentence for word, sentence in zip(words, unused, strict=True))


def test_unused_settings_of_views_and_teacher_depend_on_what_is_read():
    config = tiny_config(Path("m.csv"))
    config.teacher_decay, config.augment.strong_noise_hu = 0.9, 1.0
    config.data.healthy = 1
    names = [
        sentence.split("=")[0]
        for sentence in unused_settings(config, {"labelled": ("weak",)}, {}, teacher=False)
    ]
    assert names == ["data.healthy", "teacher_decay", "augment.strong_noise_hu"]
    read = {"healthy": ("strong",)}
    assert list(unused_settings(config, read, {}, teacher=True)) == []


@pytest.fixture
def cohort(phantom, tmp_path):
    """The phantom's manifest as a table with absolute paths, and a function that writes it."""
    table = pd.read_csv(phantom, dtype=str, keep_default_na=False)
    for column in ("image", "mask", "anatomy"):
        table[column] = [str(phantom.parent / p) if p else "" for p in table[column]]

    def write(changed):
        changed.to_csv(tmp_path / "manifest.csv", index=False)
        return tmp_path / "manifest.csv"

    return table, write


def test_train_without_validation_cases_or_weak_ones_warns_and_keeps_it(cohort, tmp_path):
    table, write = cohort
    config = tiny_config(write(table[table["split"] == "train"]), max_steps=1)
    config.data.batch["weak"] = 2
    with pytest.warns(UserWarning, match="audit") as given:
        train(config, tmp_path / "run")
    text = "\n".join(str(warning.message) for warning in given)
    assert "audit splits: no labelled or healthy case is in val" in text
    assert "audit settings: Settings without effect: data.batch.weak=2" in text
    audits = read_audits(tmp_path / "run" / "audits.json")
    assert (audits["splits"].status, audits["settings"].status) == ("warning", "warning")


def remasked(table, folder, value):
    """Labelled cases whose nodules have another value."""
    for row in table.index[table["role"] == "labelled"]:
        mask = read_volume(table.loc[row, "mask"])
        path = folder / f"{table.loc[row, 'case']}_other.nii.gz"
        write_volume(path, np.where(mask.data > 0, value, 0).astype(np.uint8), mask.affine)
        table.loc[row, "mask"] = str(path)
    return table


@pytest.mark.parametrize(("value", "hint"), [(255, "did you mean 1"), (0, "mask of its scan")])
def test_train_without_one_nodule_warns_and_keeps_it(cohort, tmp_path, value, hint):
    table, write = cohort
    config = tiny_config(write(remasked(table, tmp_path, value)), max_steps=1)
    with pytest.warns(UserWarning, match=f"None of the .* labelled training cases.*{hint}"):
        train(config, tmp_path / "run")
    assert read_audits(tmp_path / "run" / "audits.json")["nodules"].status == "warning"


@pytest.mark.parametrize(
    ("value", "label", "message"),
    [(0, "1", "mask is empty"), (1, "0", "has a nodule"), (255, "", "unknown"), (255, "1", None)],
)
def test_train_of_bags_with_labels_that_contradict_masks_is_refused(
    cohort, tmp_path, value, label, message
):
    table, write = cohort
    table.loc[table["role"] == "labelled", "split"] = "train"
    rows = table.index[table["role"] == "labelled"]
    table.loc[rows[:1]] = remasked(table.loc[rows[:1]].copy(), tmp_path, value)
    table.loc[rows, "bag_label"] = ""
    table.loc[rows[0], "bag_label"] = label
    config = tiny_config(write(table), max_steps=1)
    config.strategies = {"supervised": {}, "mil": {}}
    config.data.bag_size = 2
    if message is None:
        train(config, tmp_path / "run")
        return
    with pytest.raises(UserError, match=f"case '{table.loc[rows[0], 'case']}'.*{message}"):
        train(config, tmp_path / "run")
