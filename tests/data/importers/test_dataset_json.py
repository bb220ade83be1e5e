"""Import of the Medical Segmentation Decathlon and of nnU-Net's raw data sets."""

import json

import numpy as np
import pytest

from semilung.data import read_manifest, read_volume, write_volume
from semilung.data.importers import import_cohort
from semilung.types import UserError

AFFINE = np.diag([-0.7, 0.7, 1.25, 1.0])


def labels(*values):
    data = np.zeros((6, 5, 4), np.uint8)
    for k, value in enumerate(values):
        data[k, 1:3, 2] = value
    return data


def write(path, data):
    write_volume(path, data, AFFINE)


@pytest.fixture
def decathlon(tmp_path):
    source = tmp_path / "Task06_Lung"
    write(source / "imagesTr/lung_001.nii.gz", np.zeros((6, 5, 4), np.int16))
    write(source / "labelsTr/lung_001.nii.gz", labels(1))
    write(source / "imagesTs/lung_002.nii.gz", np.zeros((6, 5, 4), np.int16))
    content = {
        "labels": {"0": "background", "1": "cancer"},
        "training": [
            {"image": "./imagesTr/lung_001.nii.gz", "label": "./labelsTr/lung_001.nii.gz"}
        ],
        "test": ["./imagesTs/lung_002.nii.gz"],
    }
    (source / "dataset.json").write_text(json.dumps(content))
    return source


@pytest.fixture
def nnunet(tmp_path):
    source = tmp_path / "Dataset006_Lung"
    for name in ("a", "b"):
        write(source / f"imagesTr/{name}_0000.nii.gz", np.zeros((6, 5, 4), np.int16))
    write(source / "imagesTr/a_0001.nii.gz", np.zeros((6, 5, 4), np.int16))
    write(source / "labelsTr/a.nii.gz", labels(1, 2, 3))
    write(source / "imagesTs/c_0000.nii.gz", np.zeros((6, 5, 4), np.int16))
    content = {"labels": {"background": 0, "lung": 1, "nodule": 2, "ignore": 3}}
    (source / "dataset.json").write_text(json.dumps(content))
    return source


def test_msd_files_are_named_where_they_are(decathlon, tmp_path):
    manifest, _ = import_cohort("msd", decathlon, tmp_path / "out")
    a, b = read_manifest(manifest)
    assert (a.case, a.role, b.case, b.role) == ("lung_001", "labelled", "lung_002", "unlabelled")
    assert a.mask.samefile(decathlon / "labelsTr/lung_001.nii.gz")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.csv"]


def test_nnunet_nodule_label_and_ignore_become_a_mask(nnunet, tmp_path):
    options = {"nodule": ["nodule"]}
    manifest, _ = import_cohort("nnunet", nnunet, tmp_path / "out", options=options)
    cases = {case.case: case for case in read_manifest(manifest)}
    assert {name: case.role for name, case in cases.items()} == {
        "a": "labelled", "b": "unlabelled", "c": "unlabelled",
    }  # fmt: skip
    mask = read_volume(cases["a"].mask)
    assert np.array_equal(mask.data, labels(0, 1, 255))
    np.testing.assert_allclose(mask.affine, AFFINE)
    assert cases["a"].image.name == "a_0000.nii.gz"


def test_nnunet_with_one_label_keeps_its_files(nnunet, tmp_path):
    (nnunet / "dataset.json").write_text('{"labels": {"background": 0, "nodule": 1}}')
    case = import_cohort("nnunet", nnunet, tmp_path / "out")[1][0]
    assert case.mask == nnunet / "labelsTr/a.nii.gz"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            {"labels": {"background": 0, "lung": 1, "nodule": 2}},
            {},
            r"lung, nodule.*nodule='\[lung",
        ),
        ({"labels": {"background": 0, "nodule": 1}}, {"nodule": ["mass"]}, "no label mass"),
        ({"labels": {"background": 0, "nodule": [1, 2]}}, {}, "regions"),
        ({"labels": {"background": 0}}, {}, "of background alone"),
        ({"labels": [1]}, {}, "labels must be"),
        ({}, {}, "needs labels"),
    ],
)
def test_nnunet_errors_name_labels(nnunet, tmp_path, content, options, message):
    (nnunet / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        import_cohort("nnunet", nnunet, tmp_path / "out", options=options)


def test_msd_entries_without_paths_are_errors(decathlon, tmp_path):
    content = {"labels": {"0": "background", "1": "cancer"}, "training": [{"image": 3}]}
    (decathlon / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="no path of its image"):
        import_cohort("msd", decathlon, tmp_path / "out")


@pytest.mark.parametrize("name", ["msd", "nnunet"])
def test_import_of_a_folder_without_dataset_json_says_what_such_a_folder_holds(tmp_path, name):
    (tmp_path / "scans").mkdir()
    with pytest.raises(UserError, match=r"has no dataset\.json, .* next to imagesTr") as error:
        import_cohort(name, tmp_path / "scans", tmp_path / "out")
    assert "Restore" not in str(error.value)
