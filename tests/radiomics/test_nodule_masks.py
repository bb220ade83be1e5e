"""Nodules of given and predicted masks, and their names."""

import numpy as np
import pytest

from semilung.data import Case, Nodule, Volume, write_volume
from semilung.radiomics.nodule_masks import (
    PredictedMask,
    nodule_names,
    predicted_nodules,
    read_image,
    reference_nodules,
    size_columns,
)
from semilung.types import UserError

GRID = np.diag([1.0, 1.0, 2.0, 1.0])


def labels(*boxes):
    """Return labels 1, 2, ... of boxes of 4 x 4 x 2 voxels that begin at these voxels."""
    data = np.zeros((24, 24, 12), np.uint8)
    for label, (x, y, z) in enumerate(boxes, start=1):
        data[x : x + 4, y : y + 4, z : z + 2] = label
    return data


@pytest.fixture
def case(tmp_path):
    """A case with two nodules, of which nodules.csv lists the second."""
    image = np.random.default_rng(0).integers(-900, 100, (24, 24, 12)).astype(np.int16)
    write_volume(tmp_path / "ct.nii.gz", image, GRID)
    write_volume(tmp_path / "mask.nii.gz", labels((2, 2, 2), (14, 14, 6)), GRID)
    nodule = Nodule("upper", (15.5, 15.5, 13.0), 5.0)
    return Case(
        "a",
        "p",
        tmp_path / "ct.nii.gz",
        "labelled",
        mask=tmp_path / "mask.nii.gz",
        nodules=(nodule,),
    )


def test_reference_nodules_have_the_names_of_the_table_or_their_labels(case):
    nodules = reference_nodules(case, read_image(case))
    assert [nodule.name for nodule in nodules] == ["1", "upper"]
    assert [int(nodule.mask.data.sum()) for nodule in nodules] == [32, 32]
    assert nodules[0].columns["volume_mm3"] == 64.0
    assert nodules[0].columns["diameter_mm"] == pytest.approx((6 / np.pi * 64) ** (1 / 3), abs=1e-3)


def test_nodule_names_stay_unique_where_a_name_is_another_label(case):
    volume = Volume(labels((2, 2, 2), (14, 14, 6)), GRID)
    renamed = Case("a", "p", case.image, "labelled", nodules=(Nodule("1", (15.5, 15.5, 13.0)),))
    assert nodule_names(renamed, volume) == {1: "label 1", 2: "1"}


def test_predicted_nodules_are_matched_to_the_reference_that_they_overlap(case, tmp_path):
    write_volume(tmp_path / "p.nii.gz", labels((15, 13, 6), (8, 16, 1), (3, 3, 3)), GRID)
    predicted = PredictedMask(tmp_path / "p.nii.gz", [0.9, 0.8, 0.7])
    nodules = predicted_nodules(case, read_image(case), predicted)
    assert [nodule.name for nodule in nodules] == ["finding_1", "finding_2", "finding_3"]
    columns = [[n.columns[key] for key in ("finding", "reference", "matched")] for n in nodules]
    assert columns == [[1, "upper", 1], [2, "", 0], [3, "1", 1]]
    assert [nodule.columns["probability"] for nodule in nodules] == [0.9, 0.8, 0.7]


@pytest.mark.parametrize(("role", "matched"), [("healthy", 0), ("unlabelled", None)])
def test_predicted_nodules_without_reference_are_unmatched_only_where_there_is_none(
    case, tmp_path, role, matched
):
    write_volume(tmp_path / "p.nii.gz", labels((8, 16, 1)), GRID)
    other = Case("b", "p", case.image, role)
    predicted = PredictedMask(tmp_path / "p.nii.gz", [0.9])
    (nodule,) = predicted_nodules(other, read_image(other), predicted)
    assert (nodule.columns["reference"], nodule.columns["matched"]) == ("", matched)


def test_reference_nodules_of_another_grid_are_refused(case, tmp_path):
    write_volume(tmp_path / "mask.nii.gz", labels((2, 2, 2))[:-1], GRID)
    with pytest.raises(UserError, match="is not the image's"):
        reference_nodules(case, read_image(case))


def test_size_columns_are_those_of_the_voxels():
    ball = np.linalg.norm(np.indices((21, 21, 21)) - 10, axis=0) <= 8
    assert size_columns(Volume(ball, np.eye(4)))["diameter_mm"] == pytest.approx(16, rel=0.02)
