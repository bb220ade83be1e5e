"""Anatomy labels of a whole manifest: new and kept files, messages."""

from __future__ import annotations

import os
from importlib import util

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from small_cohort import parenchyma, write_table

from semilung.cli import main
from semilung.data.anatomy import ANATOMY, add_anatomy
from semilung.data.io.volume import read_volume, write_volume
from semilung.data.manifest.check_manifest import check_manifest
from semilung.types import UserError

LUNG, SOFT = ANATOMY["lung"], ANATOMY["soft_tissue"]


@pytest.fixture
def cohort(tmp_path):
    """Cubes of parenchyma: one with anatomy of its own, two without; in a folder of their own."""
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = 5, 6, -70
    rows = []
    for number in range(3):
        name = f"case {number}"
        hu = parenchyma((20, 21, 22)).astype(np.int16)
        hu[:, 15:] = 40
        write_volume(tmp_path / "ct" / f"{name}.nii.gz", hu, affine)
        row = {"case": name, "patient": f"p{number}", "image": f"ct/{name}.nii.gz"}
        rows.append(row | {"role": "healthy", "rating": f"0{number}", "cohort": "NA"})
    write_volume(tmp_path / "own.nii.gz", np.full((20, 21, 22), 4, np.uint8), affine)
    rows[1]["anatomy"] = "own.nii.gz"
    columns = ["case", "patient", "image", "rating", "anatomy", "role", "cohort"]
    return write_table(tmp_path / "lungs.csv", rows, columns)


@pytest.mark.filterwarnings("ignore:.*disagree by")
def test_add_anatomy_carries_the_forms_of_the_scan(cohort):
    path = cohort.parent / "ct" / "case 0.nii.gz"
    image = nib.load(path)
    other = image.affine.copy()
    other[0, 3] += 30
    image.set_qform(other, 1)
    image.set_sform(image.affine, 2)
    nib.save(image, path)
    add_anatomy(cohort, progress=False, processes=0)
    header = nib.load(cohort.parent / "anatomy" / "case 0.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 2)
    np.testing.assert_allclose(header.get_qform(), image.header.get_qform(), atol=1e-5)


def text(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_data_anatomy_fills_the_column_and_keeps_the_others(cohort, capsys):
    with pytest.raises(SystemExit) as left:
        main(["data", "anatomy", str(cohort)])
    assert left.value.code == 0
    written = cohort.with_name("lungs_anatomy.csv")
    assert f"2 cases labelled; manifest: {written}" in capsys.readouterr().out
    before, after = text(cohort), text(written)
    assert after["anatomy"].tolist() == [
        "anatomy/case 0.nii.gz",
        "own.nii.gz",
        "anatomy/case 2.nii.gz",
    ]
    assert list(after.columns) == list(before.columns)
    pd.testing.assert_frame_equal(after.drop(columns="anatomy"), before.drop(columns="anatomy"))
    assert check_manifest(written) == []
    image, labels = (read_volume(cohort.parent / f / "case 0.nii.gz") for f in ("ct", "anatomy"))
    np.testing.assert_array_equal(labels.affine, image.affine)
    assert labels.data.dtype == np.uint8
    assert (labels.data[:, :14] == LUNG).all()
    assert (labels.data[:, 16:] == SOFT).all()


def test_add_anatomy_result_does_not_depend_on_processes(cohort):
    out = cohort.parent / "elsewhere" / "a", cohort.parent / "elsewhere" / "b"
    for folder, processes in zip(out, (0, 2), strict=True):
        outcome = add_anatomy(cohort, out=folder, progress=False, processes=processes)
        assert text(outcome.manifest)["anatomy"][0] == f"elsewhere/{folder.name}/case 0.nii.gz"
    for name in ("case 0.nii.gz", "case 2.nii.gz"):
        assert (out[0] / name).read_bytes() == (out[1] / name).read_bytes()


def test_add_anatomy_existing_file_is_kept(cohort):
    add_anatomy(cohort, progress=False, processes=0)
    first = times(cohort.parent / "anatomy")
    (cohort.parent / "anatomy" / "case 2.nii.gz").unlink()
    outcome = add_anatomy(cohort, progress=False, processes=0)
    again = times(cohort.parent / "anatomy")
    assert outcome.written == 1
    assert set(again) == set(first)
    assert again["case 0.nii.gz"] == first["case 0.nii.gz"]


@pytest.mark.parametrize("change", ["newer image", "other grid"])
def test_add_anatomy_file_on_another_grid_is_redone(cohort, change):
    add_anatomy(cohort, progress=False, processes=0)
    image, target = (cohort.parent / f / "case 0.nii.gz" for f in ("ct", "anatomy"))
    if change == "newer image":
        os.utime(image, ns=(0, target.stat().st_mtime_ns + 10**9))
    else:
        volume = read_volume(image)
        write_volume(image, volume.data[:-2], volume.affine)
        os.utime(image, ns=(0, 0))
    assert add_anatomy(cohort, progress=False, processes=0).written == 1
    assert read_volume(target).shape == read_volume(image).shape


def test_add_anatomy_overwrite_redoes_all_and_keeps_named_files(cohort):
    add_anatomy(cohort, progress=False, processes=0)
    own = (cohort.parent / "own.nii.gz").read_bytes()
    outcome = add_anatomy(cohort, overwrite=True, progress=False, processes=0)
    assert outcome.written == 3
    assert text(outcome.manifest)["anatomy"][1] == "anatomy/case 1.nii.gz"
    assert (cohort.parent / "own.nii.gz").read_bytes() == own


def test_add_anatomy_never_overwrites_a_named_file(cohort):
    add_anatomy(cohort, progress=False, processes=0)
    named, images = cohort.with_name("lungs_anatomy.csv"), cohort.parent / "ct"
    before = times(cohort.parent / "anatomy"), times(images)
    with pytest.raises(UserError, match=r"case 0.*named in the manifest.*--out"):
        add_anatomy(named, overwrite=True, progress=False, processes=0)
    with pytest.raises(UserError, match=r"case 0.*named in the manifest.*--out"):
        add_anatomy(cohort, out=images, progress=False, processes=0)
    assert (times(cohort.parent / "anatomy"), times(images)) == before


def test_data_anatomy_failed_case_is_reported_and_stops_no_other(cohort, capsys):
    image = cohort.parent / "ct" / "case 0.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(SystemExit) as left:
        main(["data", "anatomy", str(cohort)])
    assert left.value.code == 2
    errors = capsys.readouterr().err
    assert "1 cases cannot be labelled" in errors
    assert "case 0: " in errors
    assert "truncated or damaged" in errors
    anatomy = text(cohort.with_name("lungs_anatomy.csv"))["anatomy"].tolist()
    assert anatomy == ["", "own.nii.gz", "anatomy/case 2.nii.gz"]


def test_add_anatomy_intensities_not_in_hu_are_refused(cohort):
    image = cohort.parent / "ct" / "case 2.nii.gz"
    volume = read_volume(image)
    write_volume(image, volume.data + 1024, volume.affine)
    outcome = add_anatomy(cohort, progress=False, processes=0)
    assert len(outcome.failures) == 1
    assert "case 2" in outcome.failures[0]
    assert "not HU" in outcome.failures[0]


def test_add_anatomy_without_lungmask_asks_to_install_it(cohort, capsys, monkeypatch):
    monkeypatch.setattr(
        "semilung.data.anatomy.lungmask_lungs.find_spec",
        lambda name: None if name == "lungmask" else util.find_spec(name),
    )
    with pytest.raises(SystemExit) as left:
        main(["data", "anatomy", str(cohort), "--lungs", "lungmask"])
    assert left.value.code == 2
    assert "pip install 'semilung[lungs]'" in capsys.readouterr().err
    assert not (cohort.parent / "anatomy").exists()
