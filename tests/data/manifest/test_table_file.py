"""Tables as spreadsheets save them, and files that are no table."""

from __future__ import annotations

import gzip
import json
import zipfile

import numpy as np
import pytest

from semilung.data.io.volume import write_volume
from semilung.data.manifest.cases import read_manifest
from semilung.types import UserError

TABLE = (
    "case,patient,image,role,bag_label,histology\nä,p,scans/ä.nii,weak,1,\nb,q,b.nii,weak,0,AD\n"
)
SEMICOLONS = TABLE.replace(",", ";")


@pytest.mark.parametrize(
    "raw",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.encode("latin-1"),
        TABLE.encode("utf-16"),
        TABLE.encode("utf-16-le"),
        TABLE.encode("utf-16-be"),
        SEMICOLONS.encode(),
        SEMICOLONS.encode("cp1252"),
        SEMICOLONS.replace("1", "1,0").replace("0;", "0,0;").replace("1,0,0", "1,0").encode(),
        ("sep=;\r\n" + SEMICOLONS).encode("utf-8-sig"),
        TABLE.replace(",", "\t").encode("utf-16"),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\r").encode(),
        TABLE.replace(",", " , ").encode(),
        ("\n\n" + TABLE + "\n\n").encode(),
        TABLE.replace("case", '"case "').encode(),
    ],
)
def test_read_manifest_of_a_spreadsheets_table_has_its_cases(tmp_path, raw):
    (tmp_path / "m.csv").write_bytes(raw)
    first, second = read_manifest(tmp_path / "m.csv")
    assert (first.case, first.image, first.bag_label) == ("ä", tmp_path / "scans/ä.nii", 1)
    assert (second.bag_label, second.targets) == (0, {"histology": "AD"})


def msd(path):
    path.write_text(
        json.dumps({"name": "Lung", "labels": {"0": "x"}, "training": [{"image": "a"}]})
    )


def workbook(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")


def dicom(path):
    path.write_bytes(bytes(128) + b"DICM" + bytes(9))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (msd, "dataset.json of an MSD or nnU-Net"),
        (lambda path: path.write_text('[{"case": "a"}]'), "but JSON"),
        (lambda path: path.write_text("\ufeff {broken"), "but JSON"),
        (lambda path: path.write_text("<html>"), "HTML"),
        (workbook, "Excel workbook"),
        (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0\xa1"), "old Excel workbook"),
        (lambda path: path.write_bytes(gzip.compress(TABLE.encode())), "gzip"),
        (dicom, "DICOM"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: None, "no such file was found; a manifest is"),
    ],
)
def test_read_manifest_of_another_kind_of_file_names_it_in_one_line(tmp_path, write, words):
    write(tmp_path / "given")
    with pytest.raises(UserError, match=words) as error:
        read_manifest(tmp_path / "given")
    assert "CSV" in str(error.value)
    assert len(str(error.value).replace(str(tmp_path), "").splitlines()) == 1
    assert len(str(error.value).replace(str(tmp_path), "")) < 250


def test_read_manifest_of_a_volume_or_of_the_manifests_folder_says_so(tmp_path):
    write_volume(tmp_path / "scan.nii", np.zeros((3, 3, 3), np.int16), np.eye(4))
    with pytest.raises(UserError, match="NIfTI"):
        read_manifest(tmp_path / "scan.nii")
    (tmp_path / "manifest.csv").write_text(TABLE)
    with pytest.raises(UserError, match=r"did you mean .*manifest\.csv"):
        read_manifest(tmp_path)
