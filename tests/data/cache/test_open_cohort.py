from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_cohort import write_table

from semilung.data.cache.open_cohort import open_cohort
from semilung.data.data_config import DataConfig
from semilung.data.manifest.check_manifest import check_manifest
from semilung.types import UserError


def test_open_cohort_has_streams_splits_and_budget(data_config):
    cohort = open_cohort(replace(data_config, labelled=1), seed=0)
    sizes = {role: len(cohort.train(role)) for role in ("labelled", "unlabelled", "healthy")}
    assert sizes == {"labelled": 1, "unlabelled": 7, "healthy": 2}
    assert {kept["split"] for kept in cohort.splits.values()} == {"train"}
    assert len(cohort.splits) == 10
    assert cohort.val == cohort.test == []
    assert all("mask" not in item.files for item in cohort.train("unlabelled"))


def test_train_unlabelled_stream_includes_weak_scans(data_config):
    off = {"labelled": 2, "unlabelled": 2, "healthy": 0, "weak": 1}
    cohort = open_cohort(replace(data_config, labelled=1, batch=off), seed=0)
    weak = {item.name for item in cohort.train("weak")}
    unlabelled = {item.name for item in cohort.train("unlabelled")}
    assert weak < unlabelled
    assert (len(weak), len(unlabelled)) == (1, 7)
    assert cohort.available == {"labelled": 1, "unlabelled": 7, "weak": 1}


def test_open_cohort_split_seed_fixes_splits_and_seed_draws_the_budget(data_config):
    drawn = replace(data_config, labelled=1, folds=2, split_seed=0)
    held, kept, free = set(), set(), set()
    for seed in range(6):
        cohort = open_cohort(drawn, seed=seed)
        held.add(frozenset(c.case for c in cohort.cases if c.split == "val"))
        kept |= {c.case for c in cohort.cases if c.split == "train" and c.role == "labelled"}
        own = open_cohort(replace(drawn, split_seed=None), seed=seed)
        free.add(frozenset(c.case for c in own.cases if c.split == "val"))
    assert len(held) == 1 < len(free)
    assert len(kept) > 1


def test_open_cohort_folds_have_validation_cases_with_masks(data_config):
    cohort = open_cohort(replace(data_config, folds=2, fold=1), seed=0)
    roles = [item.case.role for item in cohort.val]
    assert roles.count("labelled") == 2
    assert all("mask" in item.files for item in cohort.val if item.case.role == "labelled")


def test_train_empty_stream_is_refused_with_the_counts(data_config):
    cohort = open_cohort(replace(data_config, labelled=4, rest="drop", folds=None), seed=0)
    with pytest.raises(UserError, match=r"unknown stream is empty.*4 labelled, 3 unlabelled"):
        cohort.train("unknown")


def test_open_cohort_without_manifest_is_refused():
    with pytest.raises(UserError, match=r"data\.manifest"):
        open_cohort(DataConfig(), seed=0)


def test_open_cohort_test_cases_are_not_opened_before_access(data_config, cohort_folder, tmp_path):
    rows = [
        {"case": "a", "patient": "p", "image": str(cohort_folder / "c0.nii.gz"), "split": "train"},
        {"case": "b", "patient": "q", "image": str(tmp_path / "gone.nii.gz"), "split": "test"},
    ]
    path = write_table(tmp_path / "m.csv", [row | {"role": "healthy"} for row in rows])
    cohort = open_cohort(replace(data_config, manifest=str(path)), seed=0)
    assert len(cohort.train("healthy")) == 1
    with pytest.raises(UserError, match="gone"):
        _ = cohort.test


def test_real_cubes_and_scans(real_data, tmp_path):
    cubes = real_data / "nodule_cubes"
    names = sorted(p.name[:8] for p in cubes.glob("*_ct.nii.gz"))[:6]
    rows = [
        {
            "case": name,
            "patient": name,
            "image": str(cubes / f"{name}_ct.nii.gz"),
            "role": "labelled",
            "mask": str(cubes / f"{name}_mask.nii.gz"),
        }
        for name in names
    ]
    path = write_table(tmp_path / "m.csv", [row | {"split": "train"} for row in rows])
    assert check_manifest(path) == []
    config = DataConfig(manifest=str(path), cache=str(tmp_path / "cache"))
    for item in open_cohort(config, seed=0).train("labelled"):
        assert item.shape == (51, 51, 51)
        # The nodule sits at the centre of its cube.
        centre = np.argwhere(item.read("mask") == 1).mean(axis=0)
        assert np.abs(centre - 25).max() < 6
        assert item.foreground.min() >= 0
