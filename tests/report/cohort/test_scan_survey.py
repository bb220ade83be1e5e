"""What is measured of one scan: nodules of masks and of tables, and their places in the lungs."""

from dataclasses import replace

import numpy as np
import pytest

from semilung.data.io.volume import Volume, read_volume, to_ras, write_volume
from semilung.data.manifest.cases import Case, read_manifest
from semilung.data.manifest.check_manifest import check_case
from semilung.data.manifest.nodules import Nodule
from semilung.report.cohort.scan_survey import HU_EDGES, survey_scan


def survey(case):
    return survey_scan(*check_case(2, case))


@pytest.fixture(scope="module")
def labelled(phantom):
    """A labelled case of the phantom, with anatomy."""
    cases = read_manifest(phantom)
    return next(case for case in cases if case.role == "labelled" and case.nodules)


def test_survey_nodules_of_mask_and_table_agree(labelled):
    masked = survey(labelled)
    listed = survey(replace(labelled, mask=None))
    assert len(masked.nodules) == len(listed.nodules) == len(labelled.nodules)
    ordered = [
        sorted(survey.nodules, key=lambda nodule: nodule.voxel) for survey in (masked, listed)
    ]
    for one, other in zip(*ordered, strict=True):
        np.testing.assert_allclose(one.voxel, other.voxel, atol=1)
        np.testing.assert_allclose(one.place, other.place, atol=0.1)
        assert one.diameter_mm == pytest.approx(other.diameter_mm, rel=0.3)


def test_survey_touching_listed_nodules_of_an_unread_mask_are_counted_one_by_one(labelled):
    x, y, z = labelled.nodules[0].centre_mm
    nodules = (
        Nodule("1", (x, y, z), 8.0),
        Nodule("2", (x, y + 6, z)),
        Nodule("3", (x, y, z), 3.0, True),
    )
    found = survey(replace(labelled, role="unlabelled", bag_label=None, nodules=nodules))
    assert [nodule.diameter_mm for nodule in found.nodules] == [8.0, None]


def test_survey_place_runs_from_left_to_right_back_to_front_bottom_to_top(labelled):
    anatomy = to_ras(read_volume(labelled.anatomy))
    edges = np.argwhere(anatomy.data == 1)
    low, high = edges.min(axis=0), edges.max(axis=0)
    voxel = low + (0.25, 0.5, 0.75) * (high - low)
    centre_mm = tuple((anatomy.affine[:3, :3] @ voxel + anatomy.affine[:3, 3]).tolist())
    case = replace(labelled, mask=None, nodules=(Nodule("1", centre_mm, 8.0),))
    np.testing.assert_allclose(survey(case).nodules[0].place, (0.25, 0.5, 0.75), atol=0.05)


@pytest.mark.parametrize("flips", [(), (0, 1), (2,)])
def test_survey_is_independent_of_the_stored_orientation(tmp_path, flips):
    hu = np.random.default_rng(0).normal(-850, 40, (20, 24, 28)).astype(np.int16)
    mask = np.zeros(hu.shape, np.uint8)
    mask[3:8, 4:9, 20:25] = 1
    volumes = {}
    for name, data in (("ct", hu), ("mask", mask)):
        volume = Volume(data, np.diag([1.0, 1.0, 2.0, 1.0]))
        affine = volume.affine.copy()
        for axis in flips:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
        volumes[name] = tmp_path / f"{name}.nii.gz"
        write_volume(volumes[name], np.flip(data, flips), affine)
    result = survey(Case("a", "p", volumes["ct"], "labelled", volumes["mask"], bag_label=1))
    assert result.nodules[0].voxel == (5.0, 6.0, 22.0)
    assert result.spacing_mm == (1.0, 1.0, 2.0)
    assert result.lungs is None
    assert len(result.features) == 3
    assert HU_EDGES[result.shares.argmax()] in (-880, -860, -840)
