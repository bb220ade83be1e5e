"""Import of a hospital's tree: one series a study, under pseudonyms."""

import re
import warnings
from contextlib import suppress

import numpy as np
import pydicom
import pytest
from dicom_series import edited
from hospital_tree import SECRETS, chest, write_ct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semilung.api.imports import scan
from semilung.data import read_manifest, read_volume
from semilung.data.importers import import_cohort
from semilung.data.io.dicom.kernels import kernel_kind, manufacturer
from semilung.data.manifest.check_manifest import check_manifest
from semilung.data.manifest.merge import merge_manifests
from semilung.types import UserError


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two studies of one patient in one folder, with all that does not belong to them."""
    root = tmp_path_factory.mktemp("hospital")
    folder = root / "Doe, Jane"
    write_ct(folder, uid="1.2.3.1", number=2, step_mm=5.0)
    write_ct(folder, uid="1.2.3.2", number=3, kernel="LUNG", step_mm=2.5, hu=chest(2, (24, 20, 8)))
    write_ct(
        folder, uid="1.2.3.3", number=4, kernel="BONE", step_mm=1.25, hu=chest(3, (24, 20, 16))
    )
    write_ct(folder, uid="1.2.3.4", number=5, step_mm=1.0)  # a short part
    types = ["DERIVED", "SECONDARY", "MPR"]
    write_ct(
        folder, uid="1.2.3.5", number=6, step_mm=1.0, ImageType=types, hu=chest(5, (24, 20, 20))
    )
    write_ct(folder, uid="1.2.3.6", number=7, Modality="SR")
    write_ct(folder, uid="1.2.4.1", number=8, study="1.2.2", kernel="B30f")
    return root


def imported(source, out, **options):
    manifest, _ = import_cohort("dicom", source, out, options=options)
    return manifest, read_manifest(manifest)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_import_dicom_takes_the_thinnest_soft_or_lung_series_of_each_study(tree, tmp_path):
    manifest, cases = imported(tree, tmp_path / "out")
    assert [case.image.name for case in cases] == ["Doe, Jane#3", "Doe, Jane#8"]
    assert len({case.patient for case in cases}) == 1
    assert {case.role for case in cases} == {"unlabelled"}
    np.testing.assert_array_equal(read_volume(cases[0].image).data, chest(2, (24, 20, 8)))
    assert [issue for issue in check_manifest(manifest) if issue.field == "image"] == []
    for options, names in (
        ({"kernel": "soft"}, ["Doe, Jane#2", "Doe, Jane#8"]),
        ({"kernel": "lung"}, ["Doe, Jane#3"]),
        ({"every_series": True}, [f"Doe, Jane#{k}" for k in (2, 3, 4, 5, 6, 8)]),
    ):
        _, cases = imported(tree, tmp_path / str(len(names)), **options)
        assert [case.image.name for case in cases] == names


def test_import_dicom_of_equally_thin_series_warns_or_lists_them(tmp_path):
    for number, kernel in ((2, "LUNG"), (3, "STANDARD"), (4, "SOFT")):
        write_ct(tmp_path / "in", uid=f"1.2.3.{number}", number=number, kernel=kernel)
    with pytest.warns(UserWarning, match="1 studies have several series that are equally thin"):
        _, (case,) = imported(tmp_path / "in", tmp_path / "out")
    assert case.image.name == "in#3"
    with pytest.raises(UserError, match=r"\n  .*in#3, .*in#4, .*in#2"):
        imported(tmp_path / "in", tmp_path / "other", unclear="list")
    assert not (tmp_path / "other.key").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_import_dicom_of_chosen_lines_of_the_scan_takes_those(tree, tmp_path):
    scan(tree, csv=tmp_path / "series.csv")
    lines = (tmp_path / "series.csv").read_text().splitlines()
    keep = [line for line in lines if re.search(r'",(2|8),', line)]
    (tmp_path / "keep.csv").write_text("\n".join([lines[0], *keep]))
    _, cases = imported(tree, tmp_path / "out", series=str(tmp_path / "keep.csv"))
    assert [case.image.name for case in cases] == ["Doe, Jane#2", "Doe, Jane#8"]
    report = next(line for line in lines if "report" in line)
    (tmp_path / "keep.csv").write_text("\n".join([lines[0], report]))
    with pytest.raises(UserError, match=r"row 2: series 7 in .*: report"):
        imported(tree, tmp_path / "other", series=str(tmp_path / "keep.csv"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_import_dicom_names_are_stable_by_the_key_and_hold_nothing_of_the_patient(tree, tmp_path):
    key = tmp_path / "keys/site"
    first, cases = imported(tree, tmp_path / "out", copy=True, key=str(key))
    assert key.stat().st_mode & 0o777 == 0o600
    second, again = imported(tree, tmp_path / "again", copy=True, key=str(key))
    assert [case.case for case in cases] == [case.case for case in again]
    _, other = imported(tree, tmp_path / "other", copy=True)
    assert (tmp_path / "other.key").exists()
    assert other[0].patient != cases[0].patient
    for case in cases:
        assert re.fullmatch(r"p-[a-z2-7]{12}-[a-z2-7]{8}", case.case)
        assert case.image == tmp_path / f"out/images/{case.case}.nii.gz"
        assert case.case.startswith(case.patient)
    np.testing.assert_array_equal(read_volume(cases[0].image).data, chest(2, (24, 20, 8)))
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes() if path.suffix == ".csv" else b""
        for secret in (*SECRETS.values(), "Doe", "4711", "1.2.3.2"):
            assert secret.encode() not in content
            assert secret not in path.name
    with pytest.warns(UserWarning, match="2 scans occur twice"):
        merged = read_manifest(merge_manifests([first, second], tmp_path / "all/manifest.csv"))
    assert [case.patient for case in merged] == [case.patient for case in cases]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scan_and_import_messages_hold_nothing_of_the_patient(tmp_path):
    folder = write_ct(tmp_path / "in/a", uid="1.2.3.1")
    write_ct(tmp_path / "in/b", uid="1.2.3.2", Manufacturer="Doe^Jane")
    edited(folder, 1, ImagePositionPatient=[0, 0, 99])
    texts = [str(row) for row in scan(tmp_path / "in", csv=tmp_path / "s.csv")]
    texts.append((tmp_path / "s.csv").read_text())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        imported(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UserError) as error:
        imported(folder, tmp_path / "other")
    text = "".join([*texts, *(str(one.message) for one in warned), str(error.value)])
    assert not [s for s in (*SECRETS.values(), "Doe", "1.2.3.1", "1.2.3.2") if s in text]


def test_scan_lists_what_each_series_is(tree):
    rows = scan(tree)
    assert [(row.series, row.study, row.kind) for row in rows] == [
        ("2", 1, "CT"), ("3", 1, "CT"), ("4", 1, "CT"), ("5", 1, "CT"), ("6", 1, "CT"),
        ("7", 1, "report"), ("8", 2, "CT"),
    ]  # fmt: skip
    lung = rows[1]
    assert (lung.slices, lung.thickness_mm, lung.kernel, lung.kernel_kind) == (
        8, 2.5, "LUNG", "lung",
    )  # fmt: skip
    assert (lung.step_mm, lung.pixel_mm) == (pytest.approx(2.5), pytest.approx(0.7))
    assert (lung.manufacturer, lung.problem) == ("GE", "")


def test_scan_names_the_reason_why_a_series_is_unusable(tmp_path):
    hu = chest(0, (60, 60, 8))
    write_ct(tmp_path / "scale", uid="1.2.3.1", hu=hu)
    for path in (tmp_path / "scale").iterdir():
        one = pydicom.dcmread(path)
        one.RescaleIntercept = 0
        one.PixelData = ((one.pixel_array - 900) // 4).astype("<i2").tobytes()
        one.save_as(path)
    cosine, sine = np.cos(0.3), np.sin(0.3)
    write_ct(tmp_path / "tilt", uid="1.2.3.2", hu=hu)
    for path in (tmp_path / "tilt").iterdir():
        one = pydicom.dcmread(path)
        one.ImageOrientationPatient = [1, 0, 0, 0, f"{cosine:.9f}", f"{-sine:.9f}"]
        one.save_as(path)
    problems = {row.folder.name: row.problem for row in scan(tmp_path)}
    assert "HU" in problems["scale"]
    assert "tilted by 17.2 degrees" in problems["tilt"]


def test_import_dicom_of_a_real_tilted_series_is_refused_or_resampled(real_data, tmp_path):
    source = real_data / "formats/gantry_tilt_head"
    with pytest.raises(UserError, match=r"tilted by 18\.5 degrees.*straighten=true"):
        imported(source, tmp_path / "out")
    with pytest.warns(UserWarning, match="new key"):
        _, (case,) = imported(source, tmp_path / "out", straighten=True)
    volume = read_volume(case.image)
    axes = volume.affine[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.diag(np.square(volume.spacing_mm)), atol=1e-4)
    with pytest.warns(UserWarning, match="sheared"):
        tilted = read_volume(source)
    corner = tilted.affine @ [256, 256, 3, 1]
    place = np.rint(np.linalg.inv(volume.affine) @ corner).astype(int)[:3]
    near = volume.data[tuple(slice(k - 1, k + 2) for k in place)]
    assert near.min() - 60 <= tilted.data[256, 256, 3] <= near.max() + 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "sharp"}, "kernel is one of soft, lung"),
        ({"unclear": "ask"}, "unclear is one of first, list"),
        ({"series": "a.csv", "every_series": True}, "leave every_series and kernel out"),
        ({"key": "in/out/key"}, "must not be in the folder of the outputs"),
        ({"key": "in/1.dcm"}, "is no key of pseudonyms"),
    ],
)
def test_import_dicom_mistakes_are_one_message(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    folder = write_ct(tmp_path / "in", uid="1.2.3.1")
    min(folder.iterdir()).rename(folder / "1.dcm")
    with pytest.raises(UserError, match=message):
        imported(tmp_path / "in", tmp_path / "in/out", **options)
    assert not (tmp_path / "in/out").exists()


def test_scan_of_what_is_no_folder_is_one_message(tmp_path):
    (tmp_path / "a.dcm").touch()
    (tmp_path / "empty").mkdir()
    for name, message in (("a.dcm", "is a file"), ("b", "is not there"), ("empty", "no DICOM")):
        with pytest.raises(UserError, match=message):
            scan(tmp_path / name)


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [("Bl57d", "lung"), ("FC13", "soft"), ("fc86", "bone"), ("I26s", "soft"), ("I70f", "lung"),
     ("B80f", "bone"), ("YA", "lung"), ("B", "soft"), ("", "unknown"),
     ([], "unknown"), (7.5, "unknown")],
)  # fmt: skip
def test_kernel_kind_of_each_manufacturer(kernel, kind):
    assert kernel_kind(kernel) == kind


def test_manufacturer_of_unknown_text_is_not_shown():
    assert manufacturer("Canon Medical Systems") == "Canon"
    assert manufacturer("Jane Doe") == manufacturer(None) == ""


@pytest.mark.parametrize("name", ["ConvolutionKernel", "ImageType", "Manufacturer", "PatientID"])
def test_scan_of_a_tag_of_another_type_lists_the_series(tmp_path, name):
    folder = write_ct(tmp_path / "in", uid="1.2.3.1")
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one[name] = pydicom.DataElement(one[name].tag, "US", 7)
        one.save_as(path)
    (row,) = scan(folder)
    assert (row.kind, row.problem) == ("CT", "")
    with warnings.catch_warnings(action="ignore"):
        assert len(imported(folder, tmp_path / "out")[1]) == 1


def test_import_of_files_damaged_anywhere_is_a_manifest_or_one_error(tmp_path):
    folder = write_ct(tmp_path / "in", uid="1.2.3.1")
    target = min(folder.iterdir())
    whole = target.read_bytes()
    header = whole.index(b"\xe0\x7f\x10\x00")

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        damage=st.lists(st.tuples(st.integers(132, header), st.integers(0, 255)), max_size=4),
        cut=st.integers(150, 2 * len(whole)),
    )
    def check(damage, cut):
        raw = bytearray(whole)
        for at, byte in damage:
            raw[at] = byte
        target.write_bytes(raw[:cut])
        with suppress(UserError), warnings.catch_warnings(action="ignore"):
            scan(folder)
            import_cohort("dicom", folder, tmp_path / "out", overwrite=True)

    check()
