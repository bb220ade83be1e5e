"""The page on a cohort: what it shows, what it leaves out, and what does not stop it."""

import html
import re
import weakref
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from commands import run
from dicom_series import write_series

from semilung.data.io.volume import read_volume, write_volume
from semilung.report.cohort import cohort_page, write_cohort_page


class Balanced(HTMLParser):
    """Check that elements are closed in the order in which they are opened."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def table(phantom):
    """The phantom's manifest with absolute paths."""
    rows = pd.read_csv(phantom, dtype=str, keep_default_na=False)
    for column in ("image", "mask", "anatomy"):
        rows[column] = [path and str(phantom.parent / path) for path in rows[column]]
    return rows


def written(table, folder):
    """Path of the manifest of a table, without the phantom's nodules.csv."""
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def page_of(manifest, out):
    page = write_cohort_page(manifest, out, progress=False)
    text = page.path.read_text()
    Balanced().feed(text)
    return page, text


@pytest.fixture(scope="module")
def odd(table, tmp_path_factory):
    """The page of a cohort in which four scans are odd."""
    folder = tmp_path_factory.mktemp("odd") / "cohort"
    folder.mkdir()
    rows = table.copy()
    volume = read_volume(rows.loc[0, "image"])
    write_volume(folder / "offset.nii.gz", volume.data + 1024, volume.affine)
    second = read_volume(rows.loc[1, "image"])
    write_volume(folder / "flipped.nii.gz", second.data[:, ::-1], second.affine)
    anatomy = read_volume(rows.loc[1, "anatomy"])
    write_volume(folder / "anatomy.nii.gz", anatomy.data[:, ::-1], anatomy.affine)
    (folder / "cut.nii.gz").write_bytes((folder / "offset.nii.gz").read_bytes()[:200])
    rows.loc[0, "image"] = "offset.nii.gz"
    rows.loc[1, ["image", "anatomy"]] = ["flipped.nii.gz", "anatomy.nii.gz"]
    rows.loc[2, "image"] = "cut.nii.gz"
    rows.loc[3, "image"] = "gone.nii.gz"
    rows.loc[4, "case"] = "<script>alert(1)</script>&x".replace("/", "")
    rows["patient"] = [f"Doe^Jane{i}" for i in range(len(rows))]
    return page_of(written(rows, folder), folder / "page.html")


def test_page_of_the_phantom_has_every_section_and_no_error(phantom, tmp_path):
    page, text = page_of(phantom, tmp_path / "page.html")
    assert page.check.errors == []
    for section in re.findall(r'href="#([\w-]+)"', text):
        assert f'id="{section}"' in text
    for caption in ("Nodules by diameter", "within the lungs", "Histograms of HU", "lung volume"):
        assert caption in text
    assert text.count("data:image/jpeg") == 8


def test_page_is_self_contained(odd):
    _, text = odd
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", text) == []
    assert "default-src 'none'" in text


def test_page_lists_what_cannot_be_read_and_shows_the_rest(odd):
    page, text = odd
    assert page.verdict.startswith("Not usable yet")
    assert {error.case for error in page.check.errors} >= {"phantom_000", "phantom_002"}
    assert text.count("The scan cannot be read.") == 2
    assert text.count("data:image/jpeg") >= 6
    assert "no such file" in text


def test_page_shows_outliers_with_their_reasons(odd):
    unusual = odd[1].split('id="outliers"')[1].split('id="montage"')[0]
    assert "phantom_000" in unusual
    assert "subtract the offset" in unusual
    assert "the spine lies in front" in unusual


def test_page_escapes_names_and_names_no_patient_or_folder(odd):
    page, text = odd
    assert "<script" not in text
    assert html.escape("<script>alert(1)<script>&x") in text
    assert "Jane" not in text
    assert str(page.path.parent) not in text


def test_page_of_dicom_shows_technical_tags_and_nothing_of_the_patient(tmp_path):
    hu = np.random.default_rng(0).normal(-850, 30, (24, 24, 10)).astype(np.int32)
    write_series(
        tmp_path / "s", hu, Manufacturer="GE MEDICAL SYSTEMS", ConvolutionKernel="LUNG",
        PatientName="Doe^Jane", PatientID="4711", InstitutionName="Mercy", StudyDate="19700102",
    )  # fmt: skip
    row = {"case": "a", "patient": "p", "image": "s", "role": "unlabelled"}
    _, text = page_of(written(pd.DataFrame([row]), tmp_path), tmp_path / "page.html")
    assert ">GE<" in text
    assert ">LUNG<" in text
    for secret in ("Doe", "Jane", "4711", "Mercy", "19700102", "1970"):
        assert secret not in text


def test_page_of_a_large_cohort_shows_some_of_each_cohort_and_counts_the_rest(
    table, tmp_path, monkeypatch
):
    monkeypatch.setattr(cohort_page, "MOST_THUMBNAILS", 4)
    _, text = page_of(written(table, tmp_path / "m"), tmp_path / "page.html")
    montage = text.split('id="montage"')[1].split('id="voxels"')[0]
    assert montage.count("data:image/jpeg") == 4
    assert "Shown are 4 of 8 scans" in montage
    assert "hospital" in montage
    assert "screening" in montage


def test_survey_holds_one_scan_at_a_time(phantom, tmp_path, monkeypatch):
    alive, checked = [], cohort_page.check_case

    def counted(row, case):
        assert [ref for ref in alive if ref() is not None] == []
        item, volumes = checked(row, case)
        alive.extend([weakref.ref(volumes.image), weakref.ref(volumes.mask or volumes.image)])
        return item, volumes

    monkeypatch.setattr(cohort_page, "check_case", counted)
    page_of(phantom, tmp_path / "page.html")
    assert len(alive) == 16


def test_interrupted_survey_leaves_nothing_behind(phantom, tmp_path, monkeypatch):
    def interrupted(row, case):
        raise KeyboardInterrupt

    monkeypatch.setattr(cohort_page, "check_case", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_cohort_page(phantom, tmp_path / "out/page.html", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_report_command_writes_next_to_the_manifest_and_mistakes_are_named(table, tmp_path, capsys):
    manifest = written(table.head(2), tmp_path / "m")
    assert run("data", "report", manifest) == 0
    assert (tmp_path / "m/manifest_report.html").exists()
    assert "Usable" in capsys.readouterr().out
    assert run("data", "report", tmp_path / "gone.csv") == 2
    (tmp_path / "empty.csv").write_text("case,patient,image,role\n")
    assert run("data", "report", tmp_path / "empty.csv") == 2
    assert "no valid row" in capsys.readouterr().err


def test_report_command_place_that_cannot_be_written_is_named_before_any_scan_is_read(
    phantom, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cohort_page, "check_case", None)
    (tmp_path / "file").write_text("")
    for out, word in (
        (tmp_path / "file/page.html", "cannot be written"),
        (tmp_path, "is a folder"),
        (phantom, "is the manifest"),
    ):
        assert run("data", "report", phantom, "--out", out) == 2
        assert word in capsys.readouterr().err


def rgb(shape):
    return np.zeros(shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])


HOSTILE = {
    "nan": np.full((9, 9, 9), np.nan, np.float32),
    "inf": np.where(np.arange(729).reshape(9, 9, 9) % 2, np.inf, -np.inf).astype(np.float32),
    "huge": np.full((9, 9, 9), 1e300),
    "complex": np.full((9, 9, 9), 1 + 2j, np.complex64),
    "constant": np.full((9, 9, 9), -1000, np.int16),
    "rgb": rgb((9, 9, 9)),
    "voxel": np.full((1, 1, 1), 7, np.int16),
    "plane": np.random.default_rng(0).normal(-850, 300, (60, 60, 1)).astype(np.int16),
    "long": np.random.default_rng(0).normal(-850, 300, (3, 3, 400)).astype(np.int16),
}


def test_page_of_hostile_volumes_lists_each_and_stops_at_none(tmp_path):
    rows = []
    for name, data in HOSTILE.items():
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / f"{name}.nii.gz")
        rows.append({"case": name, "patient": name, "image": f"{name}.nii.gz", "role": "healthy"})
    page, text = page_of(written(pd.DataFrame(rows), tmp_path), tmp_path / "page.html")
    errors = {error.case for error in page.check.errors}
    assert errors >= {"nan", "inf", "huge", "complex", "constant", "rgb"}
    assert all(f"<strong>{name}" in text for name in HOSTILE)


def test_page_anatomy_cropped_to_its_labels_gives_lungs(table, tmp_path):
    rows = table.head(1).copy()
    anatomy = read_volume(rows.loc[0, "anatomy"])
    lungs = anatomy.data == 1
    low, high = (edge(np.argwhere(lungs), axis=0) for edge in (np.min, np.max))
    box = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    affine = anatomy.affine.copy()
    affine[:3, 3] = (anatomy.affine @ [*low, 1])[:3]
    part = SimpleITK.GetImageFromArray(lungs[box].astype(np.uint8).T)
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    part.SetSpacing(np.linalg.norm(lps[:, :3], axis=0).tolist())
    part.SetDirection((lps[:, :3] / np.linalg.norm(lps[:, :3], axis=0)).ravel().tolist())
    part.SetOrigin(lps[:, 3].tolist())
    SimpleITK.WriteImage(part, tmp_path / "lungs.nrrd")
    rows.loc[0, "anatomy"] = str(tmp_path / "lungs.nrrd")
    page, text = page_of(written(rows, tmp_path / "m"), tmp_path / "page.html")
    assert page.check.errors == []
    assert "within the lungs" in text
