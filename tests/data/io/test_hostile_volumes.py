"""Damaged and hostile volumes are refused with one clear error."""

import gzip
import os
import shutil
import tracemalloc
from contextlib import suppress

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_cohort import LPS

from semilung.data import DataConfig
from semilung.data.cache.prepare import prepared_image
from semilung.data.io.stored_voxels import MAX_BYTES
from semilung.data.io.volume import READERS, Volume, read_grid, read_volume, write_volume
from semilung.types import UserError

SHAPE = (4, 5, 6)
DATA = np.arange(120).reshape(SHAPE).astype(np.int16)
EXTREME = [
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80",
    b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\0\0\0\x40",
]  # fmt: skip
"""Zero, -1, the largest and the least number, NaN, both infinities, 2^30."""


def header(kind=nib.Nifti1Header, *, shape=SHAPE, dtype=np.int16, **fields):
    """Return a header's bytes with the given fields, unchecked."""
    made = kind()
    made.set_data_dtype(dtype)
    made.set_data_shape(shape)
    made["vox_offset"] = 352 if kind is nib.Nifti1Header else 544
    made["magic"] = nib.Nifti1Image.header_class().structarr["magic"]
    made.set_sform(np.diag([1.0, 2.0, 3.0, 1.0]), 1)
    for name, value in fields.items():
        made[name] = value
    return made.binaryblock + bytes(4)


def seeds(folder):
    """A sound file of each kind."""
    for number, kind in enumerate((nib.Nifti1Image, nib.Nifti2Image)):
        nib.save(kind(DATA, LPS), folder / f"{number}.nii")
        yield (folder / f"{number}.nii").read_bytes()


@st.composite
def damage(draw, sources):
    """One of the sources with bytes changed, cut off, or put behind it."""
    raw = bytearray(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, min(len(raw), 560) - 4))
        if draw(st.booleans()):
            raw[at & ~3 : (at & ~3) + 4] = draw(st.sampled_from(EXTREME))
        else:
            raw[at] = draw(st.integers(0, 255))
    if draw(st.integers(0, 4)) == 0:
        raw = raw[: draw(st.integers(0, len(raw)))]
    return bytes(raw)


def survives(path, content):
    """What is done with a scan, from its header to the net, succeeds or is refused."""
    path.write_bytes(content)
    with suppress(UserError):
        prepared_image(read_volume(path), DataConfig(), name=path.name)


def test_readers_are_all_covered_here():
    text = {".mhd", ".mha", ".nrrd", ".nhdr"}  # test_text_header.py
    assert set(READERS) == {".nii", ".nii.gz"} | text, "add seeds of the new format"


@pytest.mark.parametrize("cases", [60, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_read_volume_damaged_file_is_read_or_refused(tmp_path, cases):
    sources = list(seeds(tmp_path))

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(content=damage(sources), packed=st.booleans(), flip=st.integers(0, 10_000))
    def check(content, packed, flip):
        if not packed:
            survives(tmp_path / "f.nii", content)
            return
        squeezed = bytearray(gzip.compress(content, mtime=0))
        if flip < 5000:
            squeezed[flip % len(squeezed)] ^= 1 << flip % 8
        survives(tmp_path / "f.nii.gz", bytes(squeezed))

    check()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("shape", [(1000, 1000, 1000), (32767, 32767, 32767), (1024, 1024, 1025)])
def test_read_volume_oversized_header_allocates_nothing(tmp_path, name, shape):
    content = header(shape=shape) + bytes(1000)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    tracemalloc.start()
    try:
        for read in (read_grid, read_volume):
            with pytest.raises(UserError, match=r"cannot hold|limit"):
                read(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_read_volume_size_limit_counts_bytes(tmp_path):
    shape = (2**10, 2**10, 2**9)
    assert np.prod(shape) * 16 > MAX_BYTES
    (tmp_path / "a.nii").write_bytes(header(shape=shape, dtype=np.complex128))
    with pytest.raises(UserError, match=f"limit is {MAX_BYTES}"):
        read_volume(tmp_path / "a.nii")


def test_read_volume_bomb_in_an_extension_is_not_decompressed(tmp_path):
    extension = b"\1\0\0\0" + (2**28).to_bytes(4, "little") + (6).to_bytes(4, "little")
    content = header(vox_offset=352 + 2**28)[:348] + extension + bytes(2**26)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="truncated"):
            read_volume(tmp_path / "a.nii.gz")
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_read_volume_trailing_data_is_not_kept_in_memory(tmp_path):
    content = header() + DATA.tobytes(order="F") + bytes(2**27)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").data, DATA)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_read_volume_flipped_bit_of_a_compressed_scan_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    write_volume(path, noise, LPS)
    stored = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0))
    stored[len(stored) // 2] ^= 1
    path.write_bytes(stored)
    with pytest.raises(UserError, match="truncated or damaged"):
        read_volume(path)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"srow_x": [np.nan, 0, 0, 0]}, "finite"),
        ({"srow_x": [np.inf, 0, 0, 0]}, "finite"),
        ({"srow_x": [0, 0, 0, 0]}, "singular"),
        ({"srow_x": [0, 1, 0, 0], "srow_y": [0, 1, 1e-9, 0]}, "singular"),
        ({"srow_x": [1e30, 0, 0, 0]}, "not a CT's"),
        ({"srow_x": [1e-30, 0, 0, 0]}, "not a CT's"),
        ({"srow_x": [1, 0, 0, 1e30]}, "too far away"),
        ({"srow_x": [1, 1, 0, 0], "srow_y": [0, 1e-3, 0, 0]}, "plane"),
        ({"vox_offset": np.inf}, "header"),
        ({"vox_offset": -1000}, "header"),
        ({"datatype": 12345}, "header"),
        ({"dim": [3, -4, 5, 6, 1, 1, 1, 1]}, "empty"),
        ({"dim": [3, 0, 5, 6, 1, 1, 1, 1]}, "empty"),
        ({"dim": [9, 4, 5, 6, 1, 1, 1, 1]}, "header"),
        ({"scl_slope": 2, "scl_inter": np.inf}, "invalid intercept inf; repair"),
    ],
)
def test_read_volume_absurd_header_is_refused(tmp_path, fields, word):
    (tmp_path / "a.nii").write_bytes(header(**fields) + DATA.tobytes(order="F"))
    with pytest.raises(UserError, match=word):
        read_volume(tmp_path / "a.nii")


def test_at_spacing_of_coarse_voxels_is_limited(tmp_path):
    coarse = Volume(DATA - 900, np.diag([500.0, 500.0, 500.0, 1.0]))
    with pytest.raises(UserError, match=r"2000 x 2500 x 3000 voxels; the limit is"):
        prepared_image(coarse, DataConfig(), name="a")


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_read_volume_of_rgb_voxels_names_their_type(tmp_path, slope):
    rgb = np.dtype([(c, "u1") for c in "RGB"])
    content = header(dtype=rgb, scl_slope=slope) + bytes(360)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(UserError, match="voxels of type RGB are no numbers"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["x" * 300 + ".nii", "a\0b.nii", "dir.nii", "pipe.nii"])
def test_read_volume_path_that_is_no_file_is_refused(tmp_path, name):
    (tmp_path / "dir.nii").mkdir()
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(UserError, match="a folder" if name == "dir.nii" else "no such file"):
        read_volume(tmp_path / name)


def test_read_volume_other_format_under_the_suffix_is_refused(tmp_path):
    nib.save(nib.MGHImage(DATA, LPS), tmp_path / "a.mgz")
    shutil.copy(tmp_path / "a.mgz", tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="no whole NIfTI"):
        read_volume(tmp_path / "a.nii.gz")


def test_read_volume_scaled_voxels_agree_with_nibabel(tmp_path):
    image = nib.Nifti1Image(DATA * 1.7 - 40, LPS)
    image.set_data_dtype(np.int16)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, tmp_path / name)
        np.testing.assert_array_equal(
            read_volume(tmp_path / name).data, np.asanyarray(nib.load(tmp_path / name).dataobj)
        )
