"""Hostile and damaged XML ends in one clear error."""

import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semilung.data.importers.lidc import safe_xml
from semilung.data.importers.lidc.safe_xml import read_xml
from semilung.types import UserError

LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(12))
BOMB = f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l12;</a>'


@pytest.mark.parametrize(
    "content",
    [
        BOMB.encode(),
        ('<?xml version="1.0" encoding="UTF-16"?>' + BOMB).encode("utf-16"),
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "http://localhost:9/a.dtd"><a/>',
        b"<!DOCTYPE a><a/>",
    ],
)
def test_read_xml_document_type_is_refused_before_an_entity_expands(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"a\.xml: .*document type \(DOCTYPE\).*move it out"):
        read_xml(path)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<a>",
        b"<a></b>",
        b"<a>&unknown;</a>",
        b"<a>\x00</a>",
        b"\xff\xfe<",
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        b"not xml",
        b"<a>" * 200_000,
    ],
    ids=range(9),
)
def test_read_xml_damaged_file_is_one_error(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.xml: this is no XML that can be read.*copy it again"):
        read_xml(path)


def test_read_xml_too_large_missing_or_folder_is_one_error(tmp_path, monkeypatch):
    path = tmp_path / "a.xml"
    path.write_bytes(b"<a/>")
    assert read_xml(path).tag == "a"
    monkeypatch.setattr(safe_xml, "MAX_BYTES", 3)
    with pytest.raises(UserError, match="more than 3 bytes"):
        read_xml(path)
    for other in (tmp_path / "missing.xml", tmp_path):
        monkeypatch.setattr(safe_xml, "MAX_BYTES", 10**9)
        with pytest.raises(UserError, match="cannot be read"):
            read_xml(other)


def test_read_xml_deep_nesting_is_read(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(b"<a>" * 200_000 + b"</a>" * 200_000)
    assert len(read_xml(path)) == 1


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60), st.binary(max_size=10))
def test_read_xml_any_bytes_are_a_root_or_one_error(tmp_path, head, tail):
    path = tmp_path / "a.xml"
    for content in (head, b"<a>" + head + b"</a>" + tail):
        path.write_bytes(content)
        with suppress(UserError):
            read_xml(path)
