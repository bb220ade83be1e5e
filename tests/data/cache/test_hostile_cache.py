"""Cache entries with damaged voxels or metadata."""

import errno
import os
import random
from contextlib import suppress
from pathlib import Path

import blosc2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_cohort import LPS

from semilung.data import Case, DataConfig, prepare
from semilung.data.cache.store import open_entry, write_entry
from semilung.data.io.volume import write_volume
from semilung.types import UserError

DATA = np.random.default_rng(0).integers(-900, 100, (40, 40, 40)).astype(np.int16)


@pytest.fixture
def path(tmp_path):
    write_entry(tmp_path / "a.b2nd", DATA, {"case": "a"})
    return tmp_path / "a.b2nd"


@pytest.mark.parametrize("cases", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_open_entry_damaged_file_is_read_or_refused(path, cases):
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


def test_open_entry_forged_shape_is_refused(path):
    shape = (40).to_bytes(8, "big")
    raw = path.read_bytes()
    at = raw.index(shape)
    path.write_bytes(raw[:at] + (2**40).to_bytes(8, "big") + raw[at + 8 :])
    open_entry.cache_clear()
    with pytest.raises(UserError, match=r"cannot be opened.*semilung data prepare"):
        open_entry(path)


def test_read_chunks_that_contradict_the_header_are_refused(path):
    raw = bytearray(path.read_bytes())
    raw[48] = 1
    path.write_bytes(raw)
    open_entry.cache_clear()
    with pytest.raises(UserError, match="of the cache is damaged"):
        open_entry(path).read()


def test_open_entry_forged_dtype_is_refused(path):
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"<i2", b"<f2", 1))  # the header's; the next is our own record
    open_entry.cache_clear()
    with pytest.raises(UserError, match=r"float16 .* differs from the record"):
        open_entry(path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A labelled case whose entries are small: of four chunks, one of them nothing but zeros."""
    folder = tmp_path_factory.mktemp("flips")
    hu = np.zeros((36, 34, 5), np.int16)
    hu[:32, :32] = -850
    hu[::3, ::2] += np.arange(60, dtype=np.int16).reshape(12, 1, 5)[:, :17] - 40
    mask = np.zeros_like(hu, np.uint8)
    mask[3:7, 3:7, 1:4], mask[20:22, 20:23, 2] = 1, 2
    write_volume(folder / "i.nii", hu, LPS * 0.75)
    write_volume(folder / "m.nii", mask, LPS * 0.75)
    case = Case("a", "p", folder / "i.nii", "labelled", folder / "m.nii", folder / "m.nii")
    (item,) = prepare([case], DataConfig(cache=str(folder / "cache")), progress=False)
    return item


def content(item, field):
    """All that is ever read of an entry."""
    open_entry.cache_clear()
    parts = [item.read(field)]
    if field == "image":
        parts += [item.affine, *item.source, item.shape, item.lungs, item.checksums]
    if field == "mask":
        parts += [item.foreground, item.diameters_mm]
    return [(np.shape(part), np.asarray(part).dtype, np.asarray(part).tobytes()) for part in parts]


@pytest.mark.parametrize("field", ["image", "mask", "anatomy"])
@pytest.mark.parametrize("flips", [200, pytest.param(None, marks=pytest.mark.slow)])
def test_entry_with_any_bit_flipped_reads_the_same_or_is_refused(prepared, field, flips):
    path = prepared.files[field]
    original, expected = path.read_bytes(), content(prepared, field)
    bits = range(8 * len(original))
    messages = []
    try:
        for bit in bits if flips is None else random.Random(0).sample(bits, flips):
            raw = bytearray(original)
            raw[bit // 8] ^= 1 << bit % 8
            path.write_bytes(raw)
            try:
                assert content(prepared, field) == expected, f"bit {bit}"
            except UserError as error:
                messages.append(str(error))
    finally:
        path.write_bytes(original)
        open_entry.cache_clear()
    assert len(messages) > 0.5 * (flips or len(bits))
    assert all(str(path) in text and "semilung data prepare" in text for text in messages)
    assert not any("()" in text for text in messages), "a message without its reason"


def test_entry_whose_metadata_was_rewritten_is_refused(prepared):
    path = prepared.files["image"]
    original = path.read_bytes()
    try:
        array = blosc2.open(str(path), mode="a")
        record = dict(array.schunk.vlmeta["semilung"])
        record["meta"]["affine"][0][0] = float("nan")
        array.schunk.vlmeta["semilung"] = record
        open_entry.cache_clear()
        with pytest.raises(UserError, match=r"cannot be opened.*semilung data prepare"):
            _ = prepared.affine
    finally:
        path.write_bytes(original)
        open_entry.cache_clear()


def test_write_entry_metadata_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.b2nd.*not finite"):
        write_entry(tmp_path / "a.b2nd", DATA, {"affine": [[float("nan"), 0.0]]})
    assert list(tmp_path.iterdir()) == []


def test_entry_without_a_checksum_of_its_metadata_is_refused(tmp_path):
    """As versions before the checksum wrote them."""
    write_entry(tmp_path / "a.b2nd", DATA, {"case": "a"})
    array = blosc2.open(str(tmp_path / "a.b2nd"), mode="a")
    record = dict(array.schunk.vlmeta["semilung"])
    array.schunk.vlmeta["semilung"] = {"case": "a", "crc32": record["crc32"]}
    with pytest.raises(UserError, match=r"metadata .*semilung data prepare"):
        open_entry(tmp_path / "a.b2nd")


def test_entry_that_cannot_be_opened_now_is_not_called_damaged(tmp_path, monkeypatch):
    write_entry(tmp_path / "a.b2nd", DATA, {"case": "a"})
    for number, reason in ((errno.EMFILE, "ulimit -n"), (errno.EACCES, "Permission denied")):

        def refuse(*_, number=number):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(UserError, match=reason) as caught:
            open_entry(tmp_path / "a.b2nd")
        monkeypatch.undo()
        assert "delete" not in str(caught.value)
