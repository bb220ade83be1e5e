"""Readings of a folder, matched with its series."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from lidc_files import marked, outlined, square, write_ct, xml_text

from semilung.data.importers.lidc.lidc_series import ct_series
from semilung.data.importers.lidc.scan_readings import (
    readings_below,
    scan_on_slices,
    warn_of_unmatched,
)
from semilung.types import UserError

NODULE = outlined(1, (1, square((2, 2), (8, 9))))


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def test_readings_below_are_by_series_from_any_depth(tmp_path):
    first = write(tmp_path / "a/b", "1.xml", xml_text([NODULE], uid="1.1"))
    second = write(tmp_path, "2.XML", xml_text([], uid="1.2"))
    write(tmp_path, "._2.xml", "resource fork")
    write(tmp_path, "notes.txt", "no XML")
    with warnings.catch_warnings(action="error"):
        readings = readings_below(tmp_path)
    assert {uid: scan.path for uid, scan in readings.items()} == {"1.1": first, "1.2": second}


def test_readings_below_other_xml_is_left_out_with_one_warning(tmp_path):
    for number in range(5):
        write(tmp_path, f"{number}.xml", "<IdriReadMessage/>")
    with pytest.warns(UserWarning, match=r"no reading of a CT.*0\.xml.* and 2 more") as warned:
        assert readings_below(tmp_path) == {}
    assert len(warned) == 1


def test_readings_below_copies_are_one_and_of_others_the_latest_is_used(tmp_path):
    other = xml_text([NODULE, marked(2, "small", 0, (1, 1))], date="2001-01-01")
    write(tmp_path, "1.xml", xml_text([NODULE]))
    write(tmp_path, "2.xml", xml_text([NODULE], date="1999-01-01"))
    with warnings.catch_warnings(action="error"):
        assert readings_below(tmp_path)["1.2.3"].path.name == "1.xml"
    write(tmp_path, "0.xml", other)
    with pytest.warns(UserWarning, match=r"different readings of one series; .*0\.xml is used"):
        assert readings_below(tmp_path)["1.2.3"].path.name == "0.xml"


def test_readings_below_a_damaged_file_is_an_error(tmp_path):
    write(tmp_path, "1.xml", xml_text([NODULE])[:-30])
    with pytest.raises(UserError, match=r"1\.xml"):
        readings_below(tmp_path)


def test_warn_of_unmatched_lists_readings_of_other_series(tmp_path):
    write_ct(tmp_path / "ct")
    write(tmp_path, "a.xml", xml_text([], uid="1.2.3"))
    series = ct_series(tmp_path)
    with warnings.catch_warnings(action="error"):
        warn_of_unmatched(readings_below(tmp_path), series)
    write(tmp_path, "b.xml", xml_text([], uid="9.9"))
    with pytest.warns(UserWarning, match=r"series that is not among the imported ones: \S*b\.xml$"):
        warn_of_unmatched(readings_below(tmp_path), series)


def scan_of(tmp_path, readings):
    write_ct(tmp_path / "ct")
    write(tmp_path, "a.xml", xml_text(readings))
    (series,) = ct_series(tmp_path)
    return scan_on_slices(series, readings_below(tmp_path)[series.series_uid])


def test_scan_on_slices_voxels_are_columns_rows_slices_of_the_series(tmp_path):
    scan = scan_of(tmp_path, [NODULE, marked(2, "small", 4, (19, 15))])
    mask = np.zeros((20, 16, 5), bool)
    mask.reshape(-1)[scan.nodules[0].voxels] = True
    assert mask[3:8, 3:9, 1].all()
    assert mask.sum() == 30
    assert [mark.kind for mark in scan.marks] == ["small"]
    assert scan.has_nodule


def test_scan_on_slices_an_outline_without_a_voxel_inside_is_a_mark(tmp_path):
    scan = scan_of(tmp_path, [outlined(1, (1, np.array([[3, 3], [4, 3], [4, 4]])))])
    assert scan.nodules == []
    assert [mark.kind for mark in scan.marks] == ["small"]


def test_scan_on_slices_without_findings_is_a_scan_without_nodules(tmp_path):
    scan = scan_of(tmp_path, [])
    assert not scan.has_nodule


def test_scan_on_slices_non_nodules_alone_are_no_nodule(tmp_path):
    assert not scan_of(tmp_path, [marked(1, "non-nodule", 0, (2, 2))]).has_nodule


def test_scan_on_slices_missing_slices_are_warned_of(tmp_path):
    other = outlined(2, (7, square((2, 2), (8, 9))))
    with pytest.warns(UserWarning, match=r"lacks the slices of 1 of the 2 outlines and marks"):
        scan = scan_of(tmp_path, [NODULE, other])
    assert len(scan.nodules) == 1
    with pytest.warns(UserWarning, match=r"lacks the slices of 1 of the 1"):
        assert scan_of(tmp_path / "other", [other]) is None


def test_scan_on_slices_an_outline_outside_of_its_slice_is_an_error_with_both_paths(tmp_path):
    with pytest.raises(UserError, match=r"a\.xml: an outline at \[20, 9\] is outside.*/ct\?"):
        scan_of(tmp_path, [outlined(1, (1, square((2, 2), (20, 9))))])
