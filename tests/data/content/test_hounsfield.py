"""HU are accepted, other intensities are named."""

from __future__ import annotations

import numpy as np
import pytest
from not_hu import NOT_HU, STILL_HU, as_bytes
from small_cohort import parenchyma

from semilung.data import DataConfig, Volume, read_volume
from semilung.data.cache.prepare import prepared_image
from semilung.data.content.hounsfield import intensity_issue
from semilung.data.phantom import draw_scan


@pytest.fixture(scope="module")
def volumes():
    """A phantom's chest, and cubes of it: lung, wall of the chest, and mostly soft tissue."""
    hu = draw_scan(0, diseased=True, size=64, spacing_mm=4.0).image.astype(np.int32)
    air = np.argwhere(hu < -700).mean(axis=0).astype(int)
    cubes = [hu[a - 10 : a + 10, air[1] - 10 : air[1] + 10, 20:40] for a in (18, 24, 32)]
    return [hu, *cubes]


@pytest.mark.parametrize("name", STILL_HU)
def test_intensity_issue_of_hu_in_its_variants_is_none(volumes, name):
    assert [intensity_issue(STILL_HU[name](hu)) for hu in volumes] == [None] * len(volumes)


@pytest.mark.parametrize("name", NOT_HU)
def test_intensity_issue_of_a_chest_that_is_not_in_hu_is_named(volumes, name):
    issue = intensity_issue(NOT_HU[name](volumes[0]))
    assert issue is not None
    assert issue.severity == ("warning" if name == "0..255 less 1000" else "error")
    assert "HU" in issue.message


@pytest.mark.parametrize("name", sorted(NOT_HU.keys() - {"0..255 less 1000"}))
def test_intensity_issue_of_a_cube_that_is_not_in_hu_is_named(volumes, name):
    assert None not in [intensity_issue(NOT_HU[name](hu)) for hu in volumes[1:]]


@pytest.mark.parametrize(
    "hu",
    [
        parenchyma(),
        parenchyma((8, 8, 8)),
        np.where(np.indices((20, 20, 20))[0] < 10, -1000, 40),
        np.where(np.indices((60, 60, 40)).sum(axis=0) % 7 < 2, 1000, -1000),
    ],
    ids=["lung", "few voxels of lung", "two values", "air and bone"],
)
def test_intensity_issue_of_parts_and_drawings_is_none(hu):
    assert intensity_issue(hu) is None


def test_preparation_with_doubtful_hu_warns(volumes):
    doubtful = Volume(as_bytes(volumes[0]) - 1000, np.diag([4.0, 4, 4, 1]))
    with pytest.warns(UserWarning, match=r"scan\.nii: values run.*are these HU\?"):
        prepared_image(doubtful, DataConfig(), name="scan.nii")


def test_intensity_issue_on_all_real_ct_accepts_hu_and_names_the_rest(real_data):
    groups = ["nodule_cubes", "healthy_cubes", "background_cubes", "scans", "anatomy"]
    paths = sorted(p for group in groups for p in (real_data / group).glob("*_ct.nii.gz"))
    assert len(paths) > 200
    refused, passed = [], []
    for path in paths[:200:9] + paths[200:]:
        hu = read_volume(path).data[::2, ::2, ::2].astype(np.int32)
        refused += [(path.name, n) for n, f in STILL_HU.items() if intensity_issue(f(hu))]
        passed += [(path.name, n) for n, f in NOT_HU.items() if not intensity_issue(f(hu))]
    assert refused == []
    assert passed == []
