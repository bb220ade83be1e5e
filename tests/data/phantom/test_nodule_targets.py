"""The phantom's nodules.csv: rows that agree with the masks, and a malignancy with causes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from semilung.data.manifest.cases import read_manifest
from semilung.data.manifest.check_manifest import examine_manifest
from semilung.data.phantom import write_phantom
from semilung.data.phantom.nodule_targets import malignancy_rating
from semilung.data.phantom.nodules import Finding
from semilung.data.phantom.shapes import Shape


def test_phantom_nodules_agree_with_image_and_mask(tmp_path):
    manifest = write_phantom(tmp_path / "p", scans=12, size=48, spacing_mm=4.0, seed=1)
    assert examine_manifest(manifest).errors == []
    cases = read_manifest(manifest)
    assert all(bool(case.nodules) == (case.role == "labelled") for case in cases)
    counts = [int(case.targets["nodules"]) for case in cases if case.role == "labelled"]
    assert [len(case.nodules) for case in cases if case.role == "labelled"] == counts
    targets = {name for case in cases for nodule in case.nodules for name in nodule.targets}
    assert targets == {"texture", "spiculated", "malignancy"}


def mean_rating(**changes):
    """Mean rating of 2000 readings of one nodule, 10 mm and solid but for the changes."""
    smooth = Shape.ball()
    finding = replace(Finding(10.0, "solid", "isolated", smooth), **changes)
    rng = np.random.default_rng(0)
    return np.mean([malignancy_rating(finding, rng) for _ in range(2000)])


def test_malignancy_rises_with_size_spiculation_and_solid_part():
    spiky = next(
        shape for seed in range(99) if (shape := Shape.draw(np.random.default_rng(seed))).spiculated
    )
    plain = mean_rating()
    assert mean_rating(diameter_mm=5.0) < plain - 0.5
    assert mean_rating(diameter_mm=20.0) > plain + 0.5
    assert mean_rating(shape=spiky) > plain + 0.5
    assert mean_rating(texture="part_solid") > plain + 0.3 > mean_rating(texture="ground_glass")


def test_malignancy_is_not_size_alone():
    rng = np.random.default_rng(3)
    sizes = np.exp(rng.uniform(np.log(5), np.log(30), 500))
    textures = ("solid", "part_solid", "ground_glass")
    findings = [
        Finding(float(d), textures[i % 3], "isolated", Shape.draw(rng)) for i, d in enumerate(sizes)
    ]
    ratings = [malignancy_rating(finding, rng) for finding in findings]
    assert set(ratings) == {1, 2, 3, 4, 5}
    assert 0.5 < spearmanr(sizes, ratings).statistic < 0.95


@pytest.mark.parametrize("seed", [0, 1])
def test_phantom_nodules_are_the_same_for_a_seed(tmp_path, seed):
    settings = {"scans": 8, "size": 32, "spacing_mm": 5.0, "seed": seed}
    tables = [
        write_phantom(tmp_path / name, **settings).with_name("nodules.csv").read_bytes()
        for name in ("a", "b")
    ]
    assert tables[0] == tables[1]
