"""Segments of 3D Slicer's `.seg.nrrd`, by name."""

import gzip
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slicer_files import write_seg

from semilung.data.io.volume import read_grid, read_volume
from semilung.types import UserError

SHAPE = (6, 5, 4)


def box(low, high):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


BIG, SMALL, OTHER = box((0, 0, 0), (4, 4, 3)), box((1, 1, 1), (3, 2, 2)), box((4, 0, 0), (6, 2, 2))


def test_segments_of_one_layer_are_labels_in_their_order(tmp_path):
    layer = 7 * OTHER + 3 * SMALL
    path = write_seg(tmp_path / "a.seg.nrrd", [layer], [("b", 0, 7), ("a", 0, 3)])
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, OTHER + 2 * SMALL)
    assert volume.data.dtype == np.uint8
    assert volume.shape == read_grid(path).shape == SHAPE


@pytest.mark.parametrize("place", [0, 3])
def test_segments_that_overlap_are_in_layers_and_the_smaller_one_wins(tmp_path, place):
    segments = [("Nodule 1", 0, 1), ("Lung", 1, 1), ("Nodule 2", 0, 2)]
    path = write_seg(tmp_path / "a.seg.nrrd", [SMALL + 2 * OTHER, BIG], segments, place=place)
    expected = np.where(SMALL, 1, np.where(BIG, 2, 3 * OTHER))
    np.testing.assert_array_equal(read_volume(path).data, expected)
    chosen = read_volume(path, segments=["nodule*"])
    np.testing.assert_array_equal(chosen.data, SMALL + 2 * OTHER)
    np.testing.assert_allclose(chosen.affine, np.diag([-0.7, -0.8, 2.5, 1]), atol=1e-12)


def test_segments_without_layer_and_value_are_a_layer_each(tmp_path):
    path = write_seg(tmp_path / "a.seg.nrrd", [SMALL, OTHER], [("a", None, None)] * 2)
    np.testing.assert_array_equal(read_volume(path).data, SMALL + 2 * OTHER)


def test_segments_of_equal_voxels_are_the_first_with_a_warning(tmp_path):
    path = write_seg(tmp_path / "a.seg.nrrd", [SMALL, SMALL], [("a", 0, 1), ("b", 1, 1)])
    with pytest.warns(UserWarning, match="b lies within smaller segments"):
        np.testing.assert_array_equal(read_volume(path).data, SMALL)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([("a", 2, 1)], "in layer 2 under the label value 1"),
        ([("a", 0, 0)], "label value 0"),
        ([("a", "-1", 1)], "is no number"),
        ([("a", 0, 1), ("b", 0, 1)], "two of its segments have one layer"),
        ([("a", 0, 9), ("b", 1, 1)], "none of the segments in its header"),
    ],
)
def test_segments_of_an_invalid_header_are_refused(tmp_path, segments, message):
    path = write_seg(tmp_path / "a.seg.nrrd", [SMALL, BIG], segments)
    with pytest.raises(UserError, match=message):
        read_volume(path)


def test_segments_by_a_name_that_is_not_there_lists_the_names(tmp_path):
    path = write_seg(tmp_path / "a.seg.nrrd", [SMALL], [("Tumour\x1b", 0, 1)])
    with pytest.raises(UserError, match=r"segments \(Tumour\) is named 'nodule\*'"):
        read_volume(path, segments=["nodule*"])
    plain = write_seg(tmp_path / "plain.nrrd", [SMALL], [])
    with pytest.raises(UserError, match="names no segments"):
        read_volume(plain, segments=["nodule*"])
    with pytest.raises(UserError, match="this is none"):
        read_volume(tmp_path, segments=["nodule*"])


def test_segments_of_a_plain_nrrd_in_layers_are_refused(tmp_path):
    with pytest.raises(UserError, match="3D volume is wanted"):
        read_volume(write_seg(tmp_path / "a.nrrd", [SMALL, BIG], []))


DAMAGE = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=DAMAGE, length=st.integers(0, 3000))
@pytest.mark.filterwarnings("ignore")
def test_segments_of_a_damaged_file_are_read_or_refused(tmp_path, damage, length):
    source = tmp_path / "a.seg.nrrd"
    if not source.exists():
        write_seg(source, [SMALL, BIG], [("a", 0, 1), ("b", 1, 1)], encode=gzip.compress)
    content = bytearray(source.read_bytes())
    for place, value in damage:
        content[place % len(content)] = value
    (tmp_path / "b.seg.nrrd").write_bytes(content[: max(length, len(content) // 2)])
    with suppress(UserError):
        assert read_volume(tmp_path / "b.seg.nrrd").data.max() <= 254
