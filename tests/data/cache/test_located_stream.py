"""The stream of cases that have centres and diameters alone, and the budget that makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_cohort import LPS, SHAPE, write_table

from semilung.data.cache.open_cohort import open_cohort, stream_sizes, streams_of
from semilung.data.data_config import AugmentConfig, DataConfig
from semilung.data.io.volume import write_volume
from semilung.data.loading.loader import StepDataset
from semilung.data.manifest.cases import Case
from semilung.strategies import Learner, build_strategy
from semilung.types import UserError

BATCH = {"labelled": 1, "unlabelled": 0, "healthy": 1, "weak": 0, "located": 2}
AUGMENT = AugmentConfig(affine_probability=0.5)
NODULES = ["case", "nodule", "x_mm", "y_mm", "z_mm", "diameter_mm", "ignored"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Four labelled cases with masks and nodules, of which two masks cannot be read."""
    root = tmp_path_factory.mktemp("located")
    rng = np.random.default_rng(0)
    rows, nodules = [], []
    for number in range(5):
        name, labelled = f"c{number}", number < 4
        hu = rng.integers(-900, 100, SHAPE).astype(np.int16)
        write_volume(root / f"{name}.nii.gz", hu, LPS)
        row = {"case": name, "patient": name, "image": f"{name}.nii.gz", "split": "train"}
        if labelled:
            mask = np.zeros(SHAPE, np.uint8)
            mask[8:11, 8:11, 8:11] = 1
            write_volume(root / f"{name}_mask.nii.gz", mask, LPS)
            row["mask"] = f"{name}_mask.nii.gz"
            x, y, z = (-9.0, -9.0, 9.0)  # voxel 9, 9, 9 in RAS+
            row_of = {"case": name, "x_mm": x, "y_mm": y, "z_mm": z, "diameter_mm": 4.0}
            nodules += [row_of | {"nodule": 1}]
        rows.append(row | {"role": "labelled" if labelled else "healthy"})
    nodules += [{"case": "c3", "nodule": 2, "x_mm": -3, "y_mm": -3, "z_mm": 3, "ignored": 1}]
    write_table(root / "manifest.csv", rows)
    write_table(root / "nodules.csv", nodules, NODULES)
    return DataConfig(
        manifest=str(root / "manifest.csv"),
        cache=str(root / "cache"),
        labelled=1,
        rest="nodules",
        crop=(12, 12, 12),
        batch=BATCH,
        foreground=1.0,
        workers=0,
    )


def hide(config):
    """Make the masks beyond the budget unreadable; return their cases."""
    cohort = open_cohort(config, seed=0)
    hidden = [c.case for c in cohort.cases if c.role == "labelled" and c.mask is None]
    for case in hidden:
        Path(config.manifest).with_name(f"{case}_mask.nii.gz").write_bytes(b"cannot be read")
    return cohort, hidden


def test_budget_with_rest_nodules_keeps_points_and_never_opens_the_masks(config):
    cohort, hidden = hide(config)
    located, labelled = cohort.train("located"), cohort.train("labelled")
    assert sorted(item.name for item in located) == sorted(hidden)
    assert (len(located), len(labelled)) == (3, 1)
    assert all("mask" not in item.files and item.case.nodules for item in located)
    assert all("mask" in item.files for item in labelled)
    assert cohort.available == {"labelled": 1, "located": 3, "healthy": 1}
    assert {c.role for c in cohort.cases} == {"labelled", "healthy"}
    assert not any(c.voxels_known for c in cohort.cases if c.case in hidden)


def test_budget_with_rest_nodules_is_nested_and_that_of_other_rests(config):
    def with_masks(**changes):
        cases = open_cohort(replace(config, **changes), seed=3).cases
        return {c.case for c in cases if c.role == "labelled" and c.mask is not None}

    assert with_masks() == with_masks(rest="drop") == with_masks(rest="unlabelled")
    assert with_masks(labelled=1) < with_masks(labelled=2) < with_masks(labelled=None)


def test_budget_with_rest_nodules_without_nodules_is_an_error(config, tmp_path):
    rows = [
        {"case": n, "patient": n, "image": n, "role": "labelled", "mask": n, "split": "train"}
        for n in "ab"
    ]
    path = write_table(tmp_path / "manifest.csv", rows)
    ignored = {"nodule": 1, "x_mm": 0, "y_mm": 0, "z_mm": 0, "ignored": 1}
    write_table(tmp_path / "nodules.csv", [ignored | {"case": n} for n in "ab"], NODULES)
    with pytest.raises(UserError, match=r"nodules\.csv lists no nodule of case '[ab]'.*unlabelled"):
        open_cohort(replace(config, manifest=str(path)), seed=0)


def test_located_stream_that_is_off_leaves_its_cases_in_the_labelled_one(config):
    hide(config)
    cohort = open_cohort(replace(config, batch={**BATCH, "located": 0}), seed=0)
    assert len(cohort.train("labelled")) == 4
    assert cohort.available == {"labelled": 4, "healthy": 1}
    with pytest.raises(UserError, match="the located stream is empty"):
        cohort.train("located")


def test_located_cases_are_unlabelled_too(config):
    hide(config)
    cohort = open_cohort(replace(config, batch={**BATCH, "unlabelled": 1}), seed=0)
    located = {item.name for item in cohort.train("located")}
    assert {item.name for item in cohort.train("unlabelled")} == located
    assert cohort.available["unlabelled"] == 3


def test_streams_of_each_kind_of_case(tmp_path):
    def case(role, mask=None):
        return Case(role, role, tmp_path, role, mask, split="train")

    assert streams_of(case("weak")) == ("weak", "unlabelled")
    assert streams_of(case("labelled", tmp_path), {"located": 1}) == ("labelled",)
    assert streams_of(case("labelled"), {"located": 1}) == ("located", "unlabelled")
    assert streams_of(case("labelled"), {"labelled": 1}) == ("labelled",)
    cases = [case("labelled"), case("weak"), case("healthy")]
    sizes = {"labelled": 1, "located": 1, "weak": 1, "unlabelled": 1, "healthy": 1}
    assert stream_sizes(cases) == sizes
    assert stream_sizes([replace(c, split="val") for c in cases]) == {}


def test_located_batches_hold_nodules_and_no_mask(config):
    cohort, _ = hide(config)
    streams = {name: cohort.train(name) for name in ("labelled", "located", "healthy")}
    fields = ("mask", "nodules", "spacing_mm")
    dataset = StepDataset(streams, config, AUGMENT, seed=0, views=("weak",), fields=fields)
    ignored = 0
    for step in range(6):
        batch = dataset[step]
        located = batch["located"]
        assert set(located) == {"weak", "nodules", "spacing_mm", "case"}
        torch.testing.assert_close(located["spacing_mm"], torch.ones(2, 3))
        counted = located["nodules"][located["nodules"][..., 4] == 1]
        assert counted[:, 3].isfinite().all()
        # every crop is drawn around a nodule
        assert (located["nodules"][..., 4] == 1).any(dim=1).all()
        ignored += int((located["nodules"][..., 4] == 0).sum())
        assert batch["healthy"]["nodules"].shape[2] == 5
    assert ignored > 0


def test_located_stream_leaves_the_labelled_samples_of_the_budget_as_they_are(config):
    hide(config)
    batches = []
    for rest in ("nodules", "drop"):
        cohort = open_cohort(replace(config, rest=rest), seed=0)
        streams = {"labelled": cohort.train("labelled")}
        batches.append(StepDataset(streams, config, AUGMENT, seed=0)[2]["labelled"])
    assert batches[0]["case"] == batches[1]["case"]
    assert torch.equal(batches[0]["weak"], batches[1]["weak"])
    assert torch.equal(batches[0]["mask"], batches[1]["mask"])


def test_learner_without_located_cases_says_how_to_get_them():
    learner = Learner(torch.nn.Identity(), {"box": build_strategy("box_supervised")})
    with pytest.raises(UserError, match=r"located cases and there are none.*data\.rest=nodules"):
        learner.views({"labelled": 4, "located": 0})
    assert learner.views({"located": 4}) == {"located": ("weak",)}
    assert learner.fields() == ("nodules", "spacing_mm")
