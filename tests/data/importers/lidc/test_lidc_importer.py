"""The importer `lidc` from files to a manifest that passes its check."""

import gzip
import shutil
import warnings
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lidc_files import SHAPE, marked, outlined, square, write_ct, xml_text

from semilung.data.importers import import_cohort
from semilung.data.importers.lidc import lidc_importer
from semilung.data.io.same_grid import same_grid
from semilung.data.io.volume import read_grid, read_volume
from semilung.data.manifest.cases import read_manifest
from semilung.data.manifest.check_manifest import check_manifest
from semilung.types import UserError

FIRST = square((2, 2), (8, 9))
SECOND = square((4, 2), (10, 9))
READINGS = [
    outlined(1, (1, FIRST), (2, FIRST), (1, square((5, 4), (7, 6)), False), ratings={"texture": 5}),
    outlined(2, (1, SECOND), (2, SECOND), ratings={"texture": 4}),
    outlined(3, (3, square((12, 9), (16, 14))), ratings={"texture": 1}),
    marked(4, "small", 0, (17, 2)),
    marked(4, "non-nodule", 4, (3, 12)),
]
TEXT = xml_text(READINGS)


def imported(source, out, **options):
    return import_cohort("lidc", source, out, options=options)


@pytest.fixture
def source(tmp_path):
    write_ct(tmp_path / "lidc/LIDC-IDRI-0007/study/ct")
    (tmp_path / "lidc/xml").mkdir()
    (tmp_path / "lidc/xml/1.xml").write_text(xml_text(READINGS))
    return tmp_path / "lidc"


def test_import_lidc_two_readers_and_a_hole_give_the_mask_by_hand(source, tmp_path):
    manifest, (case,) = imported(source, tmp_path / "out", agreement=1.0)
    expected = np.zeros(SHAPE, np.uint8)
    expected[5:8, 3:9, 1:3] = 1  # inside of both outlines
    expected[6, 5, 1] = 0  # the hole's only pixel
    expected[13:16, 10:14, 3] = 255  # of a single reader
    mask = read_volume(case.mask)
    np.testing.assert_array_equal(mask.data, expected)
    assert same_grid(read_grid(case.image), mask)
    np.testing.assert_allclose(mask.affine, read_grid(case.image).affine)
    assert case.image == source / "LIDC-IDRI-0007/study/ct"
    assert (case.case, case.patient, case.role) == ("LIDC-IDRI-0007", "LIDC-IDRI-0007", "labelled")
    assert not (tmp_path / "out/readers.csv").exists()
    assert read_manifest(manifest)[0].cohort == "lidc"


def test_import_lidc_nodules_have_ratings_and_ignored_findings(source, tmp_path):
    manifest, _ = imported(source, tmp_path / "out")
    (case,) = read_manifest(manifest)
    rows = {n.name: n for n in case.nodules}
    assert {name: n.ignored for name, n in rows.items()} == {
        "1": False,
        "2": True,
        "small-1": True,
        "non-nodule-1": True,
    }
    assert rows["1"].targets == {"texture": "4.5", "readers": "2"}
    assert rows["2"].targets == {"texture": "1", "readers": "1"}
    assert rows["1"].diameter_mm == pytest.approx(
        (6 / np.pi * (2 * 7 * 6 - 0) * 0.7 * 0.8 * 2.5) ** (1 / 3), abs=0.01
    )
    affine = read_grid(case.image).affine
    expected = affine[:3] @ [17, 2, 0, 1]
    np.testing.assert_allclose(rows["small-1"].centre_mm, expected, atol=0.006)
    assert case.bag_label == 1


def test_import_lidc_result_passes_the_check_of_data(source, tmp_path):
    manifest, _ = imported(source, tmp_path / "out")
    assert check_manifest(manifest) == []


def test_import_lidc_every_reader_writes_masks_and_ratings(source, tmp_path):
    _, (case,) = imported(source, tmp_path / "out", every_reader=True)
    masks = [
        read_volume(case.mask.with_name(f"LIDC-IDRI-0007_reader{n}.nii.gz")).data
        for n in range(1, 5)
    ]
    assert [np.unique(mask).tolist() for mask in masks] == [[0, 1], [0, 1], [0, 2], [0]]
    expected = np.zeros(SHAPE, bool)
    expected[3:8, 3:9, 1:3] = True
    expected[6, 5, 1] = False
    np.testing.assert_array_equal(masks[0] == 1, expected)
    table = pd.read_csv(tmp_path / "out/readers.csv")
    assert table[["case", "nodule", "reader", "texture"]].values.tolist() == [
        ["LIDC-IDRI-0007", 1, 1, 5],
        ["LIDC-IDRI-0007", 1, 2, 4],
        ["LIDC-IDRI-0007", 2, 3, 1],
    ]


@pytest.mark.parametrize(
    ("readings", "bag_label"),
    [
        ([], 0),
        ([marked(1, "non-nodule", 0, (2, 2))], 0),
        ([marked(1, "small", 0, (2, 2))], None),
        (READINGS[2:3], None),
        (READINGS[:2], 1),
    ],
)
def test_import_lidc_label_of_the_scan_is_what_its_readers_agree_on(tmp_path, readings, bag_label):
    write_ct(tmp_path / "lidc/ct")
    (tmp_path / "lidc/1.xml").write_text(xml_text(readings))
    _, (case,) = imported(tmp_path / "lidc", tmp_path / "out")
    assert (case.role, case.bag_label) == ("labelled", bag_label)


def test_import_lidc_series_without_readings_are_unlabelled(source, tmp_path):
    (source / "xml/1.xml").write_text(xml_text(READINGS, uid="9.9"))
    with pytest.warns(UserWarning, match=r"not among the imported ones: .*1\.xml"):
        manifest, _ = imported(source, tmp_path / "out")
    (case,) = read_manifest(manifest)
    assert (case.role, case.mask, case.nodules) == ("unlabelled", None, ())


def test_import_lidc_readings_of_other_slices_leave_the_series_unlabelled(source, tmp_path):
    text = xml_text(READINGS).replace("<imageSOP_UID>1.2.3", "<imageSOP_UID>9.2.3")
    (source / "xml/1.xml").write_text(text)
    with pytest.warns(UserWarning, match="lacks the slices of 8 of the 8"):
        _, (case,) = imported(source, tmp_path / "out")
    assert case.role == "unlabelled"


def test_import_lidc_series_of_a_shared_folder_are_named_by_number(source, tmp_path):
    folder = source / "LIDC-IDRI-0007/study/ct"
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"first{path.name}"))
    write_ct(folder, uid="1.2.9", SeriesNumber=77)
    manifest, cases = imported(source, tmp_path / "out")
    assert [(c.image.name, c.role) for c in cases] == [
        ("ct#1", "labelled"),
        ("ct#77", "unlabelled"),
    ]
    assert cases[0].patient == cases[1].patient == "LIDC-IDRI-0007"
    assert read_volume(cases[0].image).data.dtype == np.int16
    assert check_manifest(manifest) == []


def test_import_lidc_outputs_hold_nothing_that_identifies_the_patient(tmp_path):
    secrets = {"PatientName": "Doe^Jane", "PatientBirthDate": "19511224", "PatientAddress": "Elm 1"}
    folder = tmp_path / "in"
    write_ct(folder / "a", patient="MRN-4711", **secrets)
    for path in list((folder / "a").iterdir()):
        path.rename(path.with_name(f"first{path.name}"))
    write_ct(folder / "a", patient="MRN-4711", uid="1.2.9", **secrets)
    (folder / "1.xml").write_text(xml_text(READINGS))
    imported(folder, tmp_path / "out", every_reader=True)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 3 + 5
    for path in files:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
        for secret in (*secrets.values(), "MRN-4711", "4711", "Doe"):
            assert secret.encode() not in content
            assert secret not in path.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agreement": 0.0}, r"agreement is a share above 0 and up to 1, got 0\.0"),
        ({"agreement": 1.5}, "got 1.5"),
        ({"agreement": float("nan")}, "got nan"),
        ({"min_readers": 0}, "min_readers is 1 or more, got 0"),
        ({"readers": 2}, "no option 'readers'"),
    ],
)
def test_import_lidc_invalid_options_are_one_error(source, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        imported(source, tmp_path / "out", **options)


def test_import_lidc_source_without_scans_is_one_error(source, tmp_path):
    with pytest.raises(UserError, match=r"1\.xml is a file; give the folder"):
        imported(source / "xml/1.xml", tmp_path / "out")
    shutil.rmtree(source / "LIDC-IDRI-0007")
    with warnings.catch_warnings(action="ignore"), pytest.raises(UserError, match="holds no scan"):
        imported(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_import_lidc_damaged_xml_is_one_error_and_writes_nothing(source, tmp_path):
    (source / "xml/2.xml").write_text("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")
    with pytest.raises(UserError, match=r"2\.xml: .*DOCTYPE"):
        imported(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(0, len(TEXT)), st.integers(0, 30), st.sampled_from(["", "9", "-", "<", "</roi>"])
)
def test_import_lidc_xml_damaged_anywhere_is_a_manifest_or_one_error(
    source, tmp_path, start, length, insertion
):
    (source / "xml/1.xml").write_text(TEXT[:start] + insertion + TEXT[start + length :])
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with warnings.catch_warnings(action="ignore"), suppress(UserError):
        manifest, _ = imported(source, tmp_path / "out")
        assert len(read_manifest(manifest)) == 1


def test_import_lidc_more_nodules_than_labels_is_one_error(source, tmp_path, monkeypatch):
    monkeypatch.setattr(lidc_importer, "IGNORE", 2)
    with pytest.raises(UserError, match=r"1\.xml: the readers outlined 2 nodules"):
        imported(source, tmp_path / "out")


def test_import_lidc_real_nodule_has_the_four_readers_ratings(real_data, tmp_path):
    folder = real_data / "lidc_dicom"
    with pytest.warns(UserWarning, match="lacks the slices of 74 of the 114"):
        manifest, (case,) = imported(
            folder / "LIDC-IDRI-0003_dev", tmp_path / "out", every_reader=True
        )
    golden = pd.read_csv(folder / "expected_contours.csv")
    (nodule,) = [n for n in case.nodules if not n.ignored]
    for name in ("malignancy", "texture", "margin", "subtlety", "calcification"):
        assert float(nodule.targets[name]) == golden[name].mean()
    assert nodule.targets["readers"] == "4"
    masks = [
        read_volume(case.mask.with_name(f"{case.case}_reader{n}.nii.gz")).data for n in range(1, 5)
    ]
    voxel_mm3 = 0.820312**2 * 2.5
    for mask, row in zip(masks, golden.itertuples(), strict=True):
        outline_mm3 = row.edge_points / 2 * voxel_mm3  # half of its pixels are inside the polygon
        assert mask.sum() * voxel_mm3 == pytest.approx(
            row.polygon_volume_mm3 - outline_mm3, rel=0.01
        )
    votes = sum(mask.astype(int) for mask in masks)
    np.testing.assert_array_equal(read_volume(case.mask).data == 1, votes >= 2)
    assert check_manifest(manifest) == []


def test_import_lidc_again_without_every_reader_removes_the_readers_masks(source, tmp_path):
    out = tmp_path / "out"
    imported(source, out, every_reader=True)
    (out / "masks/other_reader1.nii.gz").touch()
    import_cohort("lidc", source, out, overwrite=True)
    assert sorted(path.name for path in (out / "masks").iterdir()) == [
        "LIDC-IDRI-0007.nii.gz",
        "other_reader1.nii.gz",
    ]
    assert not (out / "readers.csv").exists()
