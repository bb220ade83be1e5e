"""A manifest with `nodules.csv`: labels of their own, checked with the rows and the volumes."""

from dataclasses import replace

import numpy as np
import pytest
from small_cohort import write_table

from semilung.data.cache.label_checks import nodule_doubt, require_masks
from semilung.data.cache.prepare import prepare
from semilung.data.data_config import DataConfig
from semilung.data.io.volume import write_volume
from semilung.data.manifest.cases import read_manifest
from semilung.data.manifest.check_manifest import examine_manifest
from semilung.data.manifest.splits import apply_label_budget
from semilung.data.manifest.table_file import read_table
from semilung.types import UserError

HEADER = "case,nodule,x_mm,y_mm,z_mm,diameter_mm,ignored\n"


def manifest(folder, nodules, role="labelled", **row):
    """One scan of lung with a ball of 10 mm at (20, 20, 20) mm."""
    indices = np.moveaxis(np.indices((48, 48, 48)), 0, -1)
    ball = np.linalg.norm(indices - 20, axis=-1) <= 5
    hu = np.where(ball, 20, np.random.default_rng(0).normal(-850, 30, ball.shape))
    write_volume(folder / "a.nii.gz", hu.astype(np.int16), np.eye(4))
    write_volume(folder / "a_mask.nii.gz", ball.astype(np.uint8), np.eye(4))
    (folder / "nodules.csv").write_text(HEADER + nodules)
    values = {"case": "a", "patient": "p", "image": "a.nii.gz", "role": role, **row}
    return write_table(folder / "manifest.csv", [values])


def test_read_manifest_labelled_case_needs_a_mask_or_nodules(tmp_path):
    path = manifest(tmp_path, "a,1,20,20,20,10,\n")
    assert read_manifest(path)[0].nodules[0].diameter_mm == 10
    (tmp_path / "nodules.csv").unlink()
    with pytest.raises(UserError, match=r"needs a mask, or its nodules in nodules\.csv"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("role", "row"),
    [
        ("healthy", {}),
        ("weak", {"bag_label": "0"}),
        ("labelled", {"bag_label": "0", "mask": "a_mask.nii.gz"}),
    ],
)
def test_read_manifest_scan_without_nodules_may_list_ignored_findings_alone(tmp_path, role, row):
    read_manifest(manifest(tmp_path, "a,1,20,20,20,2,1\n", role, **row))
    with pytest.raises(UserError, match=r"no nodule, but nodules\.csv lists 1"):
        read_manifest(manifest(tmp_path, "a,1,20,20,20,10,\n", role, **row))


def test_read_manifest_lists_errors_of_both_tables(tmp_path):
    path = manifest(tmp_path, "a,1,20,20,20,-3,\nb,1,20,20,20,10,\n", role="sick")
    with pytest.raises(UserError) as error:
        read_manifest(path)
    assert "nodules.csv, diameter_mm: '-3'" in str(error.value)
    assert "unknown role 'sick'" in str(error.value)


@pytest.mark.parametrize(
    ("nodules", "mask", "message"),
    [
        ("a,1,20,20,20,10,\n", "a_mask.nii.gz", None),
        ("a,1,20,20,20,10,\n", "", None),
        ("a,1,-20,-20,20,10,\n", "", "LPS"),
        ("a,1,40,40,40,10,\n", "", None),  # plain lung is no air
        ("a,1,40,40,40,10,\n", "a_mask.nii.gz", "marks nothing at its centre"),
        ("a,1,20,20,20,10,\na,2,20,20,21,10,\n", "", "from that of nodule '1'"),
    ],
)
def test_examine_manifest_compares_nodules_with_image_and_mask(tmp_path, nodules, mask, message):
    errors = examine_manifest(manifest(tmp_path, nodules, mask=mask)).errors
    assert bool(errors) == (message is not None)
    assert all(error.field.startswith("nodules.csv") for error in errors)
    assert message is None or any(message in str(error) for error in errors)


def test_apply_label_budget_takes_the_nodules_of_a_case_beyond_it(tmp_path):
    row = {"bag_label": "1", "split": "train", "mask": "a_mask.nii.gz"}
    [case] = read_manifest(manifest(tmp_path, "a,1,20,20,20,10,\n", **row))
    for rest in ("unlabelled", "weak"):
        assert apply_label_budget([case], labelled=0, rest=rest, seed=0)[0].nodules == ()


def test_examine_manifest_warns_of_nodules_of_cases_that_it_lacks(tmp_path):
    path = manifest(tmp_path, "a,1,20,20,20,10,\nb,1,20,20,20,10,\n")
    check = examine_manifest(path)
    assert check.errors == []
    assert any("1 cases that are not in this manifest" in str(w) for w in check.warnings)


def test_cases_labelled_by_nodules_alone_are_reported_to_a_segmentation_training(tmp_path):
    check = examine_manifest(manifest(tmp_path, "a,1,20,20,20,10,\n"))
    assert any("1 labelled cases have nodules but no mask" in str(w) for w in check.warnings)
    config = DataConfig(cache=str(tmp_path / "cache"), spacing_mm=None)
    prepared = prepare([check.cases[0].case], config, progress=False)
    assert "learns nothing from their voxels: a" in nodule_doubt(prepared)
    with pytest.raises(UserError, match="none of the 1 labelled training cases has a mask"):
        require_masks(prepared)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("case,nodule,x_mm,y_mm\n", "missing column; the columns found are: case, nodule"),
        ("{}", "not a CSV table, but JSON"),
    ],
)
def test_examine_manifest_lists_an_invalid_nodules_csv_with_the_other_errors(
    tmp_path, table, message
):
    path = manifest(tmp_path, "", mask="gone.nii.gz")
    (tmp_path / "nodules.csv").write_text(table)
    errors = examine_manifest(path).errors
    assert any(message in e.message and "nodules.csv" in e.field for e in errors)
    assert any("gone.nii.gz" in error.message for error in errors)


def test_examine_manifest_reads_nodules_csv_once(tmp_path, monkeypatch):
    names = []

    def count(path, *kind):
        names.append(path.name)
        return read_table(path, *kind)

    monkeypatch.setattr("semilung.data.manifest.nodules.read_table", count)
    check = examine_manifest(manifest(tmp_path, "a,1,20,20,20,10,\nb,1,20,20,20,10,\n"))
    assert len(check.warnings) > 0
    assert names == ["nodules.csv"]


def test_apply_label_budget_counts_masks(tmp_path):
    [listed] = read_manifest(manifest(tmp_path, "a,1,20,20,20,10,\n", split="train"))
    masked = [replace(listed, case=n, patient=n, mask=tmp_path / "m", nodules=()) for n in "bcd"]
    kept = apply_label_budget([listed, *masked], labelled=1, rest="drop", seed=0)
    assert len(kept) == 2
    assert listed in kept
    with pytest.raises(UserError, match="there are 3 labelled"):
        apply_label_budget([listed, *masked], labelled=4, rest="drop", seed=0)
