"""Predictions as labels: which voxels stay, and the manifest of them."""

import numpy as np
import pandas as pd
import pytest

from semilung.data import Volume, read_manifest
from semilung.inference.pseudo_labels import (
    confident_labels,
    require_pseudo_labels,
    write_pseudo_manifest,
)
from semilung.types import IGNORE, UserError


def volume(values):
    return Volume(np.array(values).reshape(-1, 1, 1), np.eye(4))


@pytest.mark.parametrize(
    ("confident", "expected"),
    [
        (0.9, [0, 0, IGNORE, IGNORE, 1, 1]),
        (0.5, [0, 0, 0, 1, 1, 1]),
        (1.0, [0, IGNORE, IGNORE, IGNORE, IGNORE, 1]),
    ],
)
def test_unsure_voxels_are_ignored_on_both_sides(confident, expected):
    probability = np.array([0.0, 0.1, 0.4, 0.6, 0.9, 1.0])
    labels = confident_labels(volume(probability > 0.5), volume(probability), confident)
    assert labels.data.ravel().tolist() == expected
    assert labels.data.dtype == np.uint8


def test_a_component_cut_from_the_mask_is_no_background():
    labels = confident_labels(volume([0, 1]), volume([0.99, 0.99]), 0.9)
    assert labels.data.ravel().tolist() == [IGNORE, 1]


def test_the_manifest_reads_back(tmp_path):
    image = tmp_path / "scans/a, b.nii.gz"
    write_pseudo_manifest(tmp_path / "out", {"a, b": image})
    (case,) = read_manifest(tmp_path / "out/manifest.csv")
    assert (case.case, case.patient, case.role, case.split) == ("a, b", "a, b", "labelled", "train")
    assert case.image == image
    assert case.mask == tmp_path / "out/a, b_pseudo.nii.gz"
    assert list(pd.read_csv(tmp_path / "out/manifest.csv")) == [
        "case",
        "patient",
        "image",
        "role",
        "mask",
        "split",
    ]


def test_refuses_before_predicting(tmp_path):
    with pytest.raises(UserError, match="confident"):
        require_pseudo_labels(tmp_path, 0.3, overwrite=False)
    (tmp_path / "manifest.csv").write_text("mine")
    with pytest.raises(UserError, match="overwrite"):
        require_pseudo_labels(tmp_path, 0.9, overwrite=False)
    require_pseudo_labels(tmp_path, 0.9, overwrite=True)
