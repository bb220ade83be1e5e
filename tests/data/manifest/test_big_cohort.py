"""Cohorts of a hundred thousand cases: work and memory do not grow with them."""

from __future__ import annotations

import csv
import gc
import sys
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from semilung.data.cache.open_cohort import open_cohort
from semilung.data.cache.prepare import prepare
from semilung.data.cache.prepared_case import PreparedCase
from semilung.data.cache.store import Entry, open_entry
from semilung.data.data_config import AugmentConfig, DataConfig
from semilung.data.loading.loader import StepDataset
from semilung.data.loading.packed_cases import PackedCases
from semilung.data.manifest.cases import Case
from semilung.data.manifest.nodules import Nodule

STEADY = AugmentConfig(affine_probability=0)


def big_manifest(path, n):
    """Four cases in five healthy, the others labelled, two scans a patient; no file exists."""
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["case", "patient", "image", "role", "mask"])
        for i in range(n):
            mask = "" if i % 5 else f"m{i}.nii.gz"
            role = "healthy" if i % 5 else "labelled"
            table.writerow([f"c{i}", f"p{i // 2}", f"i{i}.nii.gz", role, mask])
    return path


def counts_of(work):
    """How many instructions Python runs during `work`, and how often built-in functions by name."""
    counts = Counter()

    def trace(frame, event, argument):
        frame.f_trace_opcodes = True
        counts["instructions"] += event == "opcode"
        return trace

    def profile(frame, event, argument):
        if event == "c_call":
            counts[argument.__name__] += 1

    sys.setprofile(profile)
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
        sys.setprofile(None)
    return counts


def test_open_cohort_work_is_linear_and_touches_no_volume(tmp_path):
    def opening(n):
        path = big_manifest(tmp_path / f"{n}.csv", n)
        config = DataConfig(manifest=str(path), labelled=n // 20, healthy=n // 10)
        return counts_of(lambda: open_cohort(config, seed=0))

    opening(100)  # imports and caches
    small, large, larger = opening(200), opening(400), opening(600)
    first, second = (
        b["instructions"] - a["instructions"] for a, b in pairwise((small, large, larger))
    )
    assert 0 < second < 1.05 * first
    assert second / 200 < 2500
    for name in ("open", "stat", "lstat", "scandir"):
        assert small[name] == large[name] == larger[name], name


@pytest.fixture(scope="module")
def healthy(cohort_folder, data_config):
    """One prepared healthy case."""
    image = cohort_folder / "c7.nii.gz"
    (item,) = prepare([Case("a", "p", image, "healthy")], data_config, processes=0)
    return item


def copies(item, n):
    """As many cases, each an object of its own, with the files of one."""
    named = (replace(item.case, case=f"c{i}", targets={"n": str(i)}) for i in range(n))
    return [PreparedCase(case, dict(item.files)) for case in named]


def test_packed_cases_round_trip_is_equal(healthy):
    whole = replace(
        healthy.case,
        mask=Path("m.nii"),
        anatomy=Path("a.nii"),
        bag_label=0,
        nodules=(
            Nodule("1", (1.5, -2.0, 3.0), 8.0, targets={"malignancy": "4"}),
            Nodule("2", (0, 0, 0)),
        ),
        targets={"ä": "ö"},
    )
    cases = [*copies(healthy, 3), PreparedCase(whole, {"image": Path("x"), "mask": Path("y")})]
    packed = PackedCases(cases)
    assert [packed[i] for i in range(len(packed))] == cases


def test_step_dataset_work_is_independent_of_the_number_of_cases(healthy, data_config):
    config = replace(data_config, batch={"healthy": 2})

    def drawing(n):
        dataset = StepDataset({"healthy": copies(healthy, n)}, config, STEADY, seed=0)
        dataset[0]
        return counts_of(lambda: dataset[1])["instructions"]

    assert abs(drawing(5000) - drawing(10)) < 500


def test_step_dataset_memory_does_not_grow_with_samples(healthy, data_config):
    config = replace(data_config, batch={"healthy": 2})
    streams = {"healthy": copies(healthy, 100)}
    dataset = StepDataset(streams, config, STEADY, seed=0, views=(), fields=())
    streams.clear()

    def draw(steps):
        for step in steps:
            dataset[step]
        gc.collect()
        kept = sum(type(o) in (PreparedCase, Case) for o in gc.get_objects())
        return kept, tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        (few, early), (many, late) = draw(range(60)), draw(range(60, 120))
    finally:
        tracemalloc.stop()
    assert many == few < 50  # other tests' cases
    assert late - early < 120 * 300  # a case is 1300 bytes


def test_open_entry_keeps_few_files_open(healthy, tmp_path):
    open_entry.cache_clear()
    content = healthy.files["image"].read_bytes()
    for i in range(300):
        path = tmp_path / f"{i}.b2nd"
        path.write_bytes(content)
        open_entry(path)
    gc.collect()
    assert sum(type(o) is Entry for o in gc.get_objects()) <= 128
