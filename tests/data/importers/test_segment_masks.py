"""Masks by the names of segments, in the importers `folder` and `csv`."""

import numpy as np
import pytest
from slicer_files import write_seg

from semilung.data import read_manifest, read_volume, write_volume
from semilung.data.cache.prepare import prepare
from semilung.data.data_config import DataConfig
from semilung.data.importers import import_cohort
from semilung.types import UserError

SHAPE, LOW = (9, 8, 7), (2, 1, 3)
LUNG = np.ones((5, 6, 3), np.uint8)
NODULE = np.zeros_like(LUNG)
NODULE[1:3, 2:4, 1] = 1


@pytest.fixture
def source(tmp_path):
    """A scan, and its segmentation cropped to a part as 3D Slicer saves it."""
    hu = np.random.default_rng(0).integers(-900, 100, SHAPE).astype(np.int16)
    write_volume(tmp_path / "in/A_ct.nii.gz", hu, np.diag([-0.7, -0.8, 2.5, 1.0]))
    write_seg(
        tmp_path / "in/A.seg.nrrd",
        [LUNG, NODULE],
        [("Lung", 0, 1), ("Nodule", 1, 1)],
        origin=tuple(np.multiply(LOW, (0.7, 0.8, 2.5))),
    )
    (tmp_path / "in/table.csv").write_text("CT,Seg\nA_ct.nii.gz,A.seg.nrrd\n")
    return tmp_path / "in"


@pytest.mark.parametrize("name", ["folder", "csv"])
def test_import_by_a_name_of_segments_keeps_those_on_the_grid_of_the_scan(source, tmp_path, name):
    table = {"columns": {"image": "CT", "mask": "Seg"}}
    place, options = (source, {}) if name == "folder" else (source / "table.csv", table)
    options = {**options, "segments": "nodule*"}
    manifest, _ = import_cohort(name, place, tmp_path / "out", options=options)
    (case,) = read_manifest(manifest)
    assert case.role == "labelled"
    mask = read_volume(case.mask)
    expected = np.zeros(SHAPE, np.uint8)
    expected[tuple(slice(a, a + n) for a, n in zip(LOW, LUNG.shape, strict=True))] = NODULE
    np.testing.assert_array_equal(mask.data, expected)
    with pytest.raises(UserError, match=r"none of its segments \(Lung, Nodule\) is named 'gtv'"):
        import_cohort(name, place, tmp_path / "other", options={**options, "segments": ["gtv"]})


def test_import_without_names_keeps_the_file_of_all_segments(source, tmp_path):
    manifest, _ = import_cohort("folder", source, tmp_path / "out")
    (case,) = read_manifest(manifest)
    assert case.mask == source / "A.seg.nrrd"
    config = DataConfig(crop_to_lungs=False, spacing_mm=None, cache=str(tmp_path / "cache"))
    (prepared,) = prepare([case], config)
    assert np.unique(prepared.read("mask")).tolist() == [0, 1, 2]
