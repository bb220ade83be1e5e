"""Entries of the cache that are damaged, in their voxels or in what is said of them."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semilung.data.store import open_entry, write_entry
from semilung.types import UserError

DATA = np.random.default_rng(0).integers(-900, 100, (40, 40, 40)).astype(np.int16)


@pytest.fixture
def path(tmp_path):
    write_entry(tmp_path / "a.b2nd", DATA, {"case": "a"})
    return tmp_path / "a.b2nd"


@pytest.mark.parametrize("cases", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_entries_are_read_or_refused(path, cases):
    original = path.read_bytes()
    place = st.integers(0, 300) | st.integers(-700, -1) | st.integers(0, len(original) - 1)

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=4))
    def check(changes):
        raw = bytearray(original)
        for at, value in changes:
            raw[at] = value
        path.write_bytes(raw)
        open_entry.cache_clear()
        with suppress(UserError):
            open_entry(path).read()

    check()


def test_a_shape_that_was_never_written_is_refused(path):
    shape = (40).to_bytes(8, "big")
    raw = path.read_bytes()
    at = raw.index(shape)
    path.write_bytes(raw[:at] + (2**40).to_bytes(8, "big") + raw[at + 8 :])
    open_entry.cache_clear()
    with pytest.raises(UserError, match=r"cannot be opened.*semilung data prepare"):
        open_entry(path)


def test_whole_chunks_that_the_header_does_not_fit_are_told(path):
    raw = bytearray(path.read_bytes())
    raw[48] = 1
    path.write_bytes(raw)
    open_entry.cache_clear()
    with pytest.raises(UserError, match="of the cache is damaged"):
        open_entry(path).read()


def test_another_number_type_is_refused(path):
    raw = path.read_bytes()
    assert raw.count(b"<i2") == 1
    path.write_bytes(raw.replace(b"<i2", b"<f2"))
    open_entry.cache_clear()
    with pytest.raises(UserError, match=r"float16 .* is not what was written"):
        open_entry(path)
