"""Masks of a DICOM CT from SEG and RTSTRUCT objects."""

import shutil
import warnings
from contextlib import suppress

import numpy as np
import pydicom
import pytest
from dicom_masks import sources, write_rtstruct, write_seg
from hospital_tree import SECRETS, SHAPE, write_ct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semilung.data import read_manifest, read_volume
from semilung.data.importers import import_cohort
from semilung.data.importers.dicom.rtstruct_file import read_rtstruct
from semilung.data.importers.dicom.seg_file import read_seg
from semilung.data.io.same_grid import same_grid
from semilung.data.io.volume import read_grid
from semilung.types import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*new key of the pseudonyms")
UID = "1.2.3.1"


@pytest.fixture
def tree(tmp_path):
    return write_ct(tmp_path / "in/ct", uid=UID)


def box(low, high):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


NODULE, OTHER, LUNG = (
    box((4, 5, 1), (9, 8, 3)),
    box((12, 12, 0), (14, 15, 1)),
    box((2, 4, 0), (20, 18, 3)),
)


def imported(name, source, out, **options):
    manifest, _ = import_cohort(name, source, out, options=options)
    return read_manifest(manifest)


def test_import_dicom_seg_places_chosen_segments_on_the_grid_of_the_ct(tree, tmp_path):
    names = ["Nodule 1", "Lung", "Nodule 2"]
    write_seg(tmp_path / "in/seg.dcm", sources(tree, UID), [NODULE, LUNG, OTHER], names)
    (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / "out")
    assert (case.role, case.image) == ("labelled", tree)
    np.testing.assert_array_equal(read_volume(case.mask).data, NODULE + 2 * OTHER)
    assert same_grid(read_grid(case.mask), read_grid(tree))
    (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / "all", segments="*")
    expected = np.where(NODULE, 1, np.where(OTHER, 3, 2 * LUNG))
    np.testing.assert_array_equal(read_volume(case.mask).data, expected)


def test_import_dicom_seg_of_fractions_takes_a_half_and_more(tree, tmp_path):
    fractions = 0.2 * LUNG + 0.3 * NODULE + 0.49 * OTHER * ~LUNG
    seg = write_seg(tmp_path / "in/s.dcm", sources(tree, UID), [fractions], ["Nodule"],
                    kind="FRACTIONAL")  # fmt: skip
    assert pydicom.dcmread(seg).NumberOfFrames < SHAPE[2]
    (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(read_volume(case.mask).data, fractions >= 0.5)


def test_import_dicom_seg_of_a_label_map_has_its_segments(tree, tmp_path):
    write_seg(tmp_path / "in/s.dcm", sources(tree, UID), [OTHER, NODULE], ["Nodule 1", "Nodule 2"],
              kind="LABELMAP")  # fmt: skip
    (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(read_volume(case.mask).data, OTHER + 2 * NODULE)


def test_import_dicom_seg_of_slightly_other_pixels_is_resampled_too(tree, tmp_path):
    seg = write_seg(tmp_path / "in/s.dcm", sources(tree, UID), [NODULE], ["Nodule"])
    one = pydicom.dcmread(seg)
    one.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.816, 0.714]
    one.save_as(seg)
    with pytest.warns(UserWarning, match="resampled to the nearest voxels"):
        (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(read_volume(case.mask).data, NODULE)


def test_import_dicom_seg_of_another_grid_is_resampled_with_a_warning(tree, tmp_path):
    coarse = write_ct(tmp_path / "coarse", uid="1.2.3.2", hu=np.zeros((12, 10, 4), int))
    for path in coarse.iterdir():
        one = pydicom.dcmread(path)
        one.PixelSpacing = [1.6, 1.4]
        x, y, z = map(float, one.ImagePositionPatient)
        one.ImagePositionPatient = [x + 0.35, y + 0.4, z]
        one.save_as(path)
    mask = np.zeros((12, 10, 4), bool)
    mask[2:5, 3:6, 1] = True
    seg = write_seg(tmp_path / "in/s.dcm", sources(coarse, "1.2.3.2"), [mask], ["Nodule"])
    one = pydicom.dcmread(seg)
    one.ReferencedSeriesSequence[0].SeriesInstanceUID = UID
    one.save_as(seg)
    with pytest.warns(UserWarning, match="resampled to the nearest voxels"):
        (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / "out")
    expected = np.repeat(np.repeat(mask, 2, 0), 2, 1)
    np.testing.assert_array_equal(read_volume(case.mask).data, expected)


def square(low, high):
    (a, b), (c, d) = low, high
    return [(a, b), (c, b), (c, d), (a, d)]


def test_import_rtstruct_fills_contours_by_hand(tree, tmp_path):
    contours = [
        ("BODY", [(1, square((0, 0), (23, 19)))]),
        ("Nodule", [(1, square((4, 5), (10, 11))), (1, square((6, 7), (8, 9))),
                    (2, square((4.5, 5.5), (7.5, 8.4)))]),
        ("GTV-2", [(3, [(12, 12), (16, 12), (12, 16)])]),
    ]  # fmt: skip
    write_rtstruct(tmp_path / "in/rs.dcm", sources(tree, UID), contours)
    (case,) = imported("rtstruct", tmp_path / "in", tmp_path / "out")
    expected = np.zeros(SHAPE, np.uint8)
    expected[4:11, 5:12, 1] = 1
    expected[7, 8, 1] = 0  # the hole, without its contour
    expected[5:8, 6:9, 2] = 1
    for k in range(5):
        expected[12 : 17 - k, 12 + k, 3] = 2
    np.testing.assert_array_equal(read_volume(case.mask).data, expected)
    (case,) = imported("rtstruct", tmp_path / "in", tmp_path / "gtv", segments=["gtv-2"])
    np.testing.assert_array_equal(read_volume(case.mask).data, expected == 2)


def test_import_rtstruct_contours_on_no_slice_are_left_out_with_a_warning(tree, tmp_path):
    slices = sources(tree, UID)
    slices[3].ImagePositionPatient[2] += 1.2
    contours = [("Nodule", [(1, square((4, 5), (6, 7))), (3, square((4, 5), (6, 7)))])]
    write_rtstruct(tmp_path / "in/rs.dcm", slices, contours)
    with pytest.warns(UserWarning, match="1 of the 2 contours of a region are on no slice"):
        (case,) = imported("rtstruct", tmp_path / "in", tmp_path / "out")
    assert np.flatnonzero(read_volume(case.mask).data.any((0, 1))).tolist() == [1]


def test_annotations_are_matched_by_series_or_else_by_the_only_one_of_the_frame(tree, tmp_path):
    contours = [("Nodule", [(1, square((4, 5), (6, 7)))])]
    path = write_rtstruct(tmp_path / "in/rs.dcm", sources(tree, UID), contours, series=False)
    (case,) = imported("rtstruct", tmp_path / "in", tmp_path / "a")
    assert case.image == tree
    write_ct(tree, uid="1.2.3.2", number=2)
    with pytest.raises(UserError, match=r"its frame of reference is that of .*ct#1, .*ct#2"):
        imported("rtstruct", tmp_path / "in", tmp_path / "b")
    write_rtstruct(path, sources(tree, "1.2.3.2"), contours)
    (case,) = imported("rtstruct", tmp_path / "in", tmp_path / "c")
    assert case.image.name == "ct#2"


def test_annotations_without_a_ct_or_a_nodule_are_one_message(tree, tmp_path):
    lung = write_seg(tmp_path / "in/s.dcm", sources(tree, UID), [LUNG], ["Left lung"])
    with pytest.raises(UserError, match=r"segments \(Left lung\) is named .*segments='\[\*nodule"):
        imported("dicom_seg", tmp_path / "in", tmp_path / "out")
    write_seg(tmp_path / "in/n.dcm", sources(tree, UID), [NODULE], ["Nodule"])
    with pytest.warns(UserWarning, match=r"s\.dcm: none of its regions \(Left lung\)"):
        assert len(imported("dicom_seg", tmp_path / "in", tmp_path / "out")) == 1
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(lung, alone)
    with pytest.raises(UserError, match="the CT that it refers to is not in the tree"):
        imported("dicom_seg", alone, tmp_path / "b")
    with pytest.raises(UserError, match="no DICOM of the modality RTSTRUCT"):
        imported("rtstruct", alone, tmp_path / "c")
    assert not (tmp_path / "c.key").exists()


def test_annotations_leave_nothing_of_the_patient_in_outputs(tree, tmp_path):
    write_seg(tmp_path / "in/s.dcm", sources(tree, UID), [NODULE], ["Nodule"])
    (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / "out", copy=True)
    assert case.image == tmp_path / f"out/images/{case.case}.nii.gz"
    np.testing.assert_array_equal(read_volume(case.image).data, read_volume(tree).data)
    assert same_grid(read_grid(case.image), read_grid(case.mask))
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in (*SECRETS.values(), UID):
            assert secret.encode() not in content
            assert secret not in path.name


def test_import_real_seg_of_a_liver_equals_its_label_map(real_data, tmp_path):
    source = real_data / "formats/dicom_seg"
    shutil.copytree(source / "dcmqi_ct-3slice", tmp_path / "in/ct")
    shutil.copy(source / "liver.dcm", tmp_path / "in")
    (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / "out", segments="liver")
    mask, expected = read_volume(case.mask), read_volume(source / "liver_seg.nrrd")
    np.testing.assert_array_equal(mask.data, expected.data != 0)
    np.testing.assert_allclose(mask.affine, expected.affine, atol=1e-5)


def test_import_real_overlapping_segments_equal_their_label_maps(real_data, tmp_path):
    source = real_data / "formats/dicom_seg"
    shutil.copytree(source / "dcmqi_ct-3slice", tmp_path / "in/ct")
    shutil.copy(source / "partial_overlaps.dcm", tmp_path / "in")
    for number, name in enumerate(("green", "orange", "purple", "light_blue", "dark_blue"), 1):
        (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / name, segments=name)
        file = {2: 2, 3: 3}.get(number, 1)
        expected = read_volume(source / f"partial_overlaps-{file}.nrrd").data == number
        np.testing.assert_array_equal(read_volume(case.mask).data, expected)


def test_import_real_seg_of_one_frame_is_on_its_slice(real_data, tmp_path):
    source = real_data / "formats/dicom_seg"
    (tmp_path / "in").mkdir()
    for k in (0, 1):  # its CT has one slice here
        one = pydicom.dcmread(source / "ct_image.dcm")
        one.ImagePositionPatient[2] += 5 * k
        one.save_as(tmp_path / f"in/{k}.dcm")
    seg = source / "seg_image_ct_binary_single_frame.dcm"
    shutil.copy(seg, tmp_path / "in")
    (case,) = imported("dicom_seg", tmp_path / "in", tmp_path / "out", segments="*")
    mask = read_volume(case.mask).data
    np.testing.assert_array_equal(mask[..., 0], pydicom.dcmread(seg).pixel_array.T)
    assert not mask[..., 1].any()


@pytest.mark.parametrize("read", [read_seg, read_rtstruct])
def test_annotations_damaged_anywhere_are_read_or_one_error(tree, tmp_path, read):
    path, slices = tmp_path / "a.dcm", sources(tree, UID)
    if read is read_seg:
        write_seg(path, slices, [NODULE], ["Nodule"])
    else:
        write_rtstruct(path, slices, [("Nodule", [(1, square((4, 5), (6, 7)))])])
    whole, grid = path.read_bytes(), read_grid(tree)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        damage=st.lists(
            st.tuples(st.integers(132, len(whole) - 1), st.integers(0, 255)), max_size=5
        ),
        cut=st.integers(200, 2 * len(whole)),
    )
    def check(damage, cut):
        raw = bytearray(whole)
        for at, byte in damage:
            raw[at] = byte
        path.write_bytes(raw[:cut])
        with suppress(UserError), warnings.catch_warnings(action="ignore"):
            for region in read(path).regions:
                voxels = region.voxels(grid).voxels
                assert voxels.size == 0 or 0 <= voxels.min() <= voxels.max() < np.prod(SHAPE)

    check()
