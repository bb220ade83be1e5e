"""Damaged and hostile manifests."""

import gzip
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_cohort import write_table

from semilung.data import Case, DataConfig, prepare
from semilung.data.manifest.cases import read_manifest
from semilung.types import UserError

GOOD = {"case": "a", "patient": "p", "image": "a.nii.gz", "role": "unlabelled"}
HEADER = "case,patient,image,role\n"
SOURCE = (
    b"case,patient,image,role,mask,bag_label,split\n"
    b'a,p,a.nii,labelled,m.nii,1,train\n"b",q,"../b.nii",weak,,0,val\n'
)


@pytest.mark.parametrize("cases", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_scan_table_damaged_bytes_are_read_or_refused(tmp_path, cases):
    path = tmp_path / "m.csv"
    pieces = st.sampled_from([b"\0", b'"', b",", b"\n", b"\r", b"\xff", b"\xef\xbb\xbf", b"=1+1",
                              b"a" * 70_000, b"../../x", b"'", b"\x1b[2J", b"1e999"])  # fmt: skip

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.integers(0, len(SOURCE)), pieces), max_size=6), st.binary())
    def check(changes, tail):
        raw = SOURCE
        for at, piece in changes:
            raw = raw[:at] + piece + raw[at + 1 :]
        path.write_bytes(raw + tail)
        with suppress(UserError):
            found = read_manifest(path)
            assert all("/" not in case.case and case.case.isprintable() for case in found)

    check()


def test_read_manifest_compressed_table_is_refused(tmp_path):
    path = tmp_path / "m.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "a,p,a.nii,unlabelled\n" * 10).encode()))
    with pytest.raises(UserError, match="not a CSV"):
        read_manifest(path)


@pytest.mark.parametrize(
    "rows", ["x,a,p,a.nii,unlabelled\n", "a,p,a.nii,unlabelled,x\n", "a,p,a.nii,unlabelled,x\n" * 2]
)
def test_read_manifest_row_with_a_value_too_many_shifts_no_column(tmp_path, rows):
    (tmp_path / "m.csv").write_text(HEADER + rows)
    with pytest.raises(UserError, match="not a CSV"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"case": "a\0b"}, "control"),
        ({"case": "a\x1b[2Jb"}, "control"),
        ({"image": "a\0.nii"}, "control"),
        ({"case": "x" * 300}, "200 bytes"),
        ({"case": "../a"}, "slashes"),
    ],
)
def test_read_manifest_name_that_is_no_file_name_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        read_manifest(write_table(tmp_path / "m.csv", [GOOD | change]))


def test_read_manifest_absolute_and_parent_paths_are_allowed(tmp_path):
    rows = [GOOD | {"image": "../x.nii"}, GOOD | {"case": "b", "image": "/y.nii"}]
    first, second = read_manifest(write_table(tmp_path / "m.csv", rows))
    assert first.image == tmp_path / "../x.nii"
    assert second.image == Path("/y.nii")


def test_prepare_scan_that_vanishes_is_named(cohort_folder, tmp_path, monkeypatch):
    case = Case("a", "p", cohort_folder / "c0.nii.gz", "unlabelled")
    gone = tmp_path / "gone.nii"
    # the package's function hides the module of its name
    module = import_module("semilung.data.cache.prepare")
    monkeypatch.setattr(module, "_digest", lambda path: gone.open())
    with pytest.raises(UserError, match=r"1 of 1 cases.*\n.*a: .*No such file.*gone\.nii"):
        prepare([case], DataConfig(cache=str(tmp_path / "cache")), progress=False)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["gone.nii", "x" * 300 + ".nii", "m.csv/a.nii"])
def test_prepare_impossible_image_path_is_reported_with_its_case(tmp_path, name):
    (tmp_path / "m.csv").touch()
    case = Case("a", "p", tmp_path / name, "unlabelled")
    with pytest.raises(UserError, match=r"1 of 1 cases.*\n.*a: .*no such file"):
        prepare([case], DataConfig(cache=str(tmp_path / "cache")), progress=False)
