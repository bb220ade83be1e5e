"""Readings from the readers' XML, real, made up, and damaged."""

import re
from collections import Counter
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lidc_files import marked, outlined, square, xml_text

from semilung.data.importers.lidc.reader_xml import RATINGS, read_readings
from semilung.types import UserError

HIGHEST = dict(RATINGS)
READINGS = [
    outlined(1, (1, square((2, 2), (8, 9))), (1, square((4, 4), (6, 6)), False), ratings=HIGHEST),
    marked(2, "small", 3, (5, 5)),
    marked(4, "non-nodule", 0, (1, 2)),
]
TEXT = xml_text(READINGS)


def read(tmp_path, text):
    path = tmp_path / "reads.xml"
    path.write_text(text)
    return read_readings(path)


def test_read_readings_returns_outlines_marks_and_ratings(tmp_path):
    scan = read(tmp_path, TEXT)
    assert (scan.series_uid, scan.readers, scan.date.strip()) == ("1.2.3", 4, "2000-01-01")
    assert [(r.reader, r.kind, r.ratings) for r in scan.readings] == [
        (1, "nodule", HIGHEST),
        (2, "small", {}),
        (4, "non-nodule", {}),
    ]
    for one, expected in zip(scan.readings, READINGS, strict=True):
        for outline, original in zip(one.outlines, expected.outlines, strict=True):
            assert (outline.image_uid, outline.inclusion) == (
                original.image_uid,
                original.inclusion,
            )
            np.testing.assert_array_equal(outline.points, original.points)


@pytest.mark.parametrize("root", ["IdriReadMessage", "html", "{other}LidcRead"])
def test_read_readings_other_xml_is_none(tmp_path, root):
    text = TEXT.replace("LidcReadMessage", root) if "{" not in root else "<LidcRead/>"
    assert read(tmp_path, text) is None


def without(name):
    return re.sub(rf"<{name}>[^<]*</{name}>", "", TEXT, count=1)


@pytest.mark.parametrize(
    "name", ["SeriesInstanceUid", "imageSOP_UID", "inclusion", "xCoord", "yCoord"]
)
def test_read_readings_missing_element_is_one_error(tmp_path, name):
    with pytest.raises(UserError, match=rf"reads\.xml: <\w+> has no <{name}>; copy it again"):
        read(tmp_path, without(name))
    emptied = re.sub(rf"<{name}>[^<]*<", f"<{name}> <", TEXT, count=1)
    with pytest.raises(UserError, match=rf"reads\.xml: <{name}> is empty"):
        read(tmp_path, emptied)


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"<ResponseHeader>.*</ResponseHeader>", "", "<LidcReadMessage> has no <ResponseHeader>"),
        (r"<roi>.*?</roi><roi>.*?</roi>", "", "an <unblindedReadNodule> has no <roi>"),
        (r"(<edgeMap>.*?</edgeMap>)+", "", "has 0 <edgeMap>, not 1 to 4096"),
        (r"<edgeMap>.*?</edgeMap>", r"\g<0>" * 5000, "<edgeMap>, not 1 to 4096"),
        (r"<xCoord>\d+", "<xCoord>1e400", "<xCoord> is '1e400', not a whole number"),
        (r"<xCoord>\d+", "<xCoord>-1", "<xCoord> is '-1', not a whole number"),
        (r"<xCoord>\d+", "<xCoord>" + "9" * 10**6, "<xCoord> is '99999999999999999999', not a"),
        (r"<yCoord>\d+", "<yCoord>65536", "<yCoord> is 65536, not 0 to 65535"),
        (r"<yCoord>\d+", "<yCoord>\u0663", "not a whole number"),
        (r"<malignancy>\d+", "<malignancy>6", "<malignancy> is 6, not 1 to 5"),
        (r"<malignancy>\d+", "<malignancy>0", "<malignancy> is 0, not 1 to 5"),
        (r"<malignancy>\d+", "<malignancy>nan", "<malignancy> is 'nan', not a whole number"),
        (r"<inclusion>TRUE", "<inclusion>MAYBE", "<inclusion> is 'MAYBE', neither TRUE nor FALSE"),
    ],
)  # fmt: skip
def test_read_readings_invalid_element_is_one_short_error(tmp_path, pattern, replacement, message):
    text = re.sub(pattern, replacement, TEXT, count=1)
    assert text != TEXT
    with pytest.raises(UserError) as raised:
        read(tmp_path, text)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 300 + len(str(tmp_path))


def test_read_readings_rating_that_was_not_given_is_left_out(tmp_path):
    ratings = read(tmp_path, without("texture")).readings[0].ratings
    assert ratings == {name: value for name, value in HIGHEST.items() if name != "texture"}


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.text(max_size=20))
def test_read_readings_damaged_anywhere_is_read_or_one_error(tmp_path, start, length, insertion):
    for text in (TEXT[:start], TEXT[:start] + insertion + TEXT[start + length :]):
        (tmp_path / "reads.xml").write_bytes(text.encode("utf-8", "surrogatepass"))
        with suppress(UserError):
            read_readings(tmp_path / "reads.xml")


CASES = [
    *("157_164", "185_268", "186_147", "187_251"),
    *("188_011", "188_018", "189_110", "189_130", "189_142"),
]


@pytest.mark.parametrize("name", CASES)
def test_read_readings_odd_files_of_the_collection_have_the_expected_counts(real_data, name):
    """Counts of an independent parser: readings of 3 to 8 readers, with holes, or marks alone."""
    folder = real_data / "lidc_dicom"
    index = pd.read_csv(folder / "lidc_xml_index.csv").set_index("xml")
    row = index.loc[f"{name.replace('_', '/')}.xml"]
    scan = read_readings(folder / "xml_cases" / f"{name}.xml")
    kinds = Counter(one.kind for one in scan.readings)
    holes = sum(not o.inclusion for one in scan.readings for o in one.outlines)
    assert scan.series_uid == row.series_uid
    assert (scan.readers, holes) == (row.reading_sessions, row.exclusion_rois)
    assert kinds["nodule"] + kinds["small"] == row.nodule_reads
    assert kinds["nodule"] == row.with_characteristics
    assert kinds["non-nodule"] == row.non_nodules


def test_read_readings_radiograph_of_the_collection_is_none(real_data):
    assert read_readings(real_data / "lidc_dicom/xml_cases/185_073.xml") is None
