"""nnU-Net raw data sets of a manifest, and the way back by the importer."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from commands import run as command

from semilung.data import Case, read_manifest, read_volume, write_manifest, write_volume
from semilung.data.importers import import_cohort
from semilung.export import nnunet_raw
from semilung.types import UserError

AFFINE = np.array([[-0.7, 0, 0, 12], [0, 0.7, 0, -3], [0, 0, 1.25, 40], [0, 0, 0, 1]])

export_nnunet = partial(nnunet_raw.export_nnunet, progress=False, processes=0)


def mask_of(*values):
    data = np.zeros((6, 5, 4), np.uint8)
    for k, value in enumerate(values):
        data[k, 1:3, 2] = value
    return data


@pytest.fixture
def cohort(tmp_path):
    """Cases of every role; `t` is of the test split, `v` of validation, `i` has ignored voxels."""
    rng = np.random.default_rng(0)
    cases = []
    masks = {"a": (1, 0, 2), "i": (1, 255), "v": (3,), "t": (1, 1)}
    roles = {"h": "healthy", "u": "unlabelled", "w": "weak"}
    for name in [*masks, *roles]:
        image, mask = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_mask.nii.gz"
        write_volume(image, rng.integers(-1000, 400, (6, 5, 4)).astype(np.int16), AFFINE)
        if name in masks:
            write_volume(mask, mask_of(*masks[name]), AFFINE)
        case = Case(name, f"p{name}", image, roles.get(name, "labelled"))
        splits = {"t": "test", "v": "val"}
        cases.append(
            replace(
                case,
                mask=mask if name in masks else None,
                bag_label=1 if name == "w" else None,
                split=splits.get(name, "train"),
            )
        )
    return cases


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_nnunet_export_sorts_cases_by_role_and_split(cohort, tmp_path):
    out = tmp_path / "Dataset001_Nodules"
    with pytest.warns(UserWarning, match="1 healthy cases are left out"):
        counts = export_nnunet(cohort, out)
    assert counts == {"Tr": 3, "Ts": 3, "healthy": 1}
    assert files(out) == [
        "dataset.json",
        *(f"imagesTr/{name}_0000.nii.gz" for name in "aiv"),
        *(f"imagesTs/{name}_0000.nii.gz" for name in "tuw"),
        *(f"labelsTr/{name}.nii.gz" for name in "aiv"),
        "labelsTs/t.nii.gz",
        "splits_final.json",
    ]  # fmt: skip
    assert json.loads((out / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "nodule": 1, "ignore": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    assert json.loads((out / "splits_final.json").read_text()) == [
        {"train": ["a", "i"], "val": ["v"]}
    ]


def test_nnunet_export_keeps_voxels_and_geometry_and_maps_labels(cohort, tmp_path):
    out = tmp_path / "d"
    export_nnunet(cohort, out, healthy=True)
    for case in cohort:
        part = "Tr" if (out / f"imagesTr/{case.case}_0000.nii.gz").exists() else "Ts"
        image = read_volume(out / f"images{part}/{case.case}_0000.nii.gz")
        source = read_volume(case.image)
        assert np.array_equal(image.data, source.data)
        np.testing.assert_allclose(image.affine, source.affine, atol=1e-6)
        if case.role in ("labelled", "healthy"):
            labels = read_volume(out / f"labels{part}/{case.case}.nii.gz")
            np.testing.assert_allclose(labels.affine, source.affine, atol=1e-6)
            expected = np.zeros((6, 5, 4)) if case.mask is None else read_volume(case.mask).data
            assert np.array_equal(labels.data == 1, (expected > 0) & (expected < 255))
            assert np.array_equal(labels.data == 2, expected == 255)


def test_nnunet_export_and_import_give_the_cohort_back(cohort, tmp_path):
    cases = [case for case in cohort if case.role in ("labelled", "unlabelled")]
    export_nnunet(cases, tmp_path / "d")
    manifest, _ = import_cohort("nnunet", tmp_path / "d", tmp_path / "back")
    back = {case.case: case for case in read_manifest(manifest)}
    assert {name: case.role for name, case in back.items()} == {c.case: c.role for c in cases}
    assert [name for name, case in back.items() if case.split == "test"] == ["t"]
    for case in cases:
        same = read_volume(back[case.case].image)
        assert np.array_equal(same.data, read_volume(case.image).data)
        if case.mask:
            one, two = read_volume(case.mask).data, read_volume(back[case.case].mask).data
            assert np.array_equal(np.where(one == 255, 255, one > 0), two)


def test_nnunet_export_without_ignored_voxels_declares_no_ignore_label(cohort, tmp_path):
    export_nnunet([cohort[0], replace(cohort[2], split=None)], tmp_path / "d")
    labels = json.loads((tmp_path / "d/dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "nodule": 1}
    assert not (tmp_path / "d/splits_final.json").exists()


@pytest.fixture
def predicted(cohort, tmp_path):
    """A folder as `predict --pseudo-labels` writes it, of the cases u and t."""
    folder = tmp_path / "predicted"
    rows = []
    for case in cohort:
        if case.case in "ut":
            path = folder / f"{case.case}_pseudo.nii.gz"
            write_volume(path, mask_of(255, 1, 255), AFFINE)
            rows.append(replace(case, role="labelled", mask=path, split="train"))
    write_manifest(folder / "manifest.csv", rows)
    return folder


def test_nnunet_export_with_pseudo_labels_trains_on_unlabelled_cases_but_not_on_test(
    cohort, predicted, tmp_path
):
    out = tmp_path / "d"
    export_nnunet([c for c in cohort if c.role != "healthy"], out, pseudo_labels=predicted)
    assert {"imagesTr/u_0000.nii.gz", "labelsTr/u.nii.gz"} <= set(files(out))
    assert {"imagesTs/t_0000.nii.gz", "imagesTs/w_0000.nii.gz"} <= set(files(out))
    labels = read_volume(out / "labelsTr/u.nii.gz").data
    assert [int(labels[k, 1, 2]) for k in range(4)] == [2, 1, 2, 0]
    test = read_volume(out / "labelsTs/t.nii.gz").data
    assert np.array_equal(test > 0, mask_of(1, 1) > 0)


def test_nnunet_export_refuses_what_cannot_be_trained_on(cohort, predicted, tmp_path):
    refused = partial(pytest.raises, UserError)
    with refused(match="no case is left to train on"):
        export_nnunet([case for case in cohort if case.case in "ut"], tmp_path / "d")
    with refused(match="pseudo-labels of other scans"):
        export_nnunet(cohort[:1], tmp_path / "d", pseudo_labels=predicted)
    with refused(match="not an empty folder"):
        export_nnunet(cohort, tmp_path)
    shutil.copy(cohort[0].mask, tmp_path / "other.nii.gz")
    write_volume(tmp_path / "other.nii.gz", mask_of(1)[:-1], AFFINE)
    with refused(match=r"1 of 1 cases cannot be exported(.|\n)*is not the image's"):
        export_nnunet([replace(cohort[0], mask=tmp_path / "other.nii.gz")], tmp_path / "e")
    assert not (tmp_path / "e/dataset.json").exists()


def test_nnunet_export_warns_of_labelled_cases_with_points_alone(cohort, tmp_path):
    points = replace(cohort[1], mask=None)
    with pytest.warns(UserWarning, match="no mask, and nnU-Net cannot use points: i"):
        export_nnunet([cohort[0], points], tmp_path / "d")
    assert (tmp_path / "d/imagesTs/i_0000.nii.gz").exists()


def test_data_export_command_names_counts_and_the_expected_folder(cohort, tmp_path, capsys):
    manifest = write_manifest(tmp_path / "m/manifest.csv", [c for c in cohort if c.case in "av"])
    assert command("data", "export", "nnunet", manifest, tmp_path / "mine") == 0
    output = capsys.readouterr().out
    assert "2 training scans and 0 test scans" in output
    assert "DatasetNNN_NAME" in output
