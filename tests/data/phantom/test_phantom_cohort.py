from __future__ import annotations

from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from semilung.data.io.volume import read_volume, to_ras
from semilung.data.manifest.cases import read_manifest
from semilung.data.phantom import draw_scan, write_phantom
from semilung.data.phantom.cohort_plan import Parameters, compose
from semilung.types import ROLES, SPLITS, UserError

SMALL = {"size": 40, "spacing_mm": 4.0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "new" / "cohort"
    return write_phantom(out, scans=8, seed=5, **SMALL)


@pytest.fixture(scope="module")
def rows(cohort):
    return pd.read_csv(cohort)


def test_composition_holds_what_a_demo_needs() -> None:
    assert [sum(p.role == role for p in compose(12)) for role in ROLES] == [5, 2, 4, 1]
    for scans in range(8, 60):
        parts = compose(scans)
        assert len(parts) == scans
        assert {p.role for p in parts} == set(ROLES)
        for role in ("labelled", "healthy"):
            assert {p.split for p in parts if p.role == role} == set(SPLITS)
            tested = sum(p.role == role and p.split == "test" for p in parts)
            assert tested == max(1, sum(p.role == role for p in parts) // 4)
        assert all(p.split == "train" for p in parts if p.role in ("unlabelled", "weak"))


def test_manifest_names_what_every_role_needs(rows) -> None:
    wanted = ["case", "patient", "image", "role", "mask", "anatomy", "bag_label", "split", "cohort"]
    assert list(rows.columns[:9]) == wanted
    assert rows.case.is_unique
    assert rows.patient.is_unique
    assert (rows["mask"].notna() == (rows.role == "labelled")).all()
    assert rows.bag_label[rows.role.isin(["labelled", "weak"])].eq(1).all()
    assert rows.bag_label[rows.role == "healthy"].eq(0).all()
    assert rows.bag_label[rows.role == "unlabelled"].isna().all()
    assert (
        rows.cohort.tolist() == np.where(rows.role == "healthy", "screening", "hospital").tolist()
    )
    hidden = rows[rows.role.isin(["unlabelled", "weak"])]
    assert hidden[["nodules", "diameter_mm", "texture"]].isna().all(axis=None)
    assert rows.nodules[rows.role == "labelled"].ge(1).all()


def test_write_phantom_is_read_by_the_toolkit(cohort, rows) -> None:
    cases = read_manifest(cohort)
    assert [c.case for c in cases] == rows.case.tolist()
    assert [c.role for c in cases] == rows.role.tolist()
    assert all(c.image.is_file() for c in cases)


def test_files_share_a_grid_and_come_back_in_ras(cohort, rows) -> None:
    orders, origins = set(), set()
    for index, row in rows.iterrows():
        image = read_volume(cohort.parent / row.image)
        orders.add("".join(nib.aff2axcodes(image.affine)))
        origins.add(tuple(image.affine[:3, 3].tolist()))
        assert image.data.dtype == np.int16
        np.testing.assert_allclose(image.spacing_mm, 4.0)
        drawn = draw_scan(index, diseased=row.role != "healthy", cohort=row.cohort, seed=5, **SMALL)
        np.testing.assert_array_equal(to_ras(image).data, drawn.image)
        anatomy = read_volume(cohort.parent / row.anatomy)
        np.testing.assert_array_equal(anatomy.affine, image.affine)
        np.testing.assert_array_equal(to_ras(anatomy).data, drawn.anatomy)
        if row.role == "labelled":
            mask = read_volume(cohort.parent / row["mask"])
            assert mask.data.dtype == np.uint8
            np.testing.assert_array_equal(to_ras(mask).data, drawn.mask)
    assert orders == {"LPS", "RAS", "LAS"}
    assert len(origins) == 8
    assert len(list((cohort.parent / "masks").iterdir())) == (rows.role == "labelled").sum()


def test_write_phantom_keeps_the_same_one_and_completes_a_partial_one(cohort) -> None:
    text, image = cohort.read_text(), cohort.parent / "images" / "phantom_007.nii.gz"
    stamp = image.stat().st_mtime_ns
    assert write_phantom(cohort.parent, scans=8, seed=5, **SMALL) == cohort
    assert image.stat().st_mtime_ns == stamp
    cohort.unlink()
    image.unlink()
    write_phantom(cohort.parent, scans=8, seed=5, **SMALL)
    assert cohort.read_text() == text
    assert image.is_file()


def test_write_phantom_does_not_overwrite_another_one(cohort, monkeypatch) -> None:
    with pytest.raises(UserError, match="another phantom: --seed is 5 there and 6 here; name"):
        write_phantom(cohort.parent, scans=8, seed=6, **SMALL)
    redrawn = partial(Parameters, drawing=99)
    monkeypatch.setattr("semilung.data.phantom.phantom_cohort.Parameters", redrawn)
    with pytest.raises(UserError, match="another phantom: another version of semilung has"):
        write_phantom(cohort.parent, scans=8, seed=5, **SMALL)


def test_write_phantom_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_phantom(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        write_phantom(tmp_path / "notes.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scans": 7}, "7 scans .* 8 or more"),
        ({"size": 31, "spacing_mm": 4.0}, "size is 31 .* 32 or more"),
        ({"spacing_mm": 0.0}, "spacing is 0.0 mm"),
        ({"spacing_mm": -1.0}, "spacing is -1.0 mm"),
        ({"spacing_mm": float("nan")}, "spacing is nan mm"),
        ({"size": 40, "spacing_mm": 1.0}, "40 mm; choose them for 90 to 500 mm"),
        ({"size": 96, "spacing_mm": 6.0}, "576 mm"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_write_phantom_invalid_argument_is_named(tmp_path: Path, options, message) -> None:
    with pytest.raises(UserError, match=message):
        write_phantom(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_write_phantom_where_no_folder_can_be_made_names_no_errno(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        write_phantom(Path("/proc/semilung"), scans=8, **SMALL)
    assert "Errno" not in str(error.value)
    assert str(error.value).endswith("Choose a place that can be written")
