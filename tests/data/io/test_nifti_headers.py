"""NIfTI headers: offset of the voxels, unit of length, and the two transforms."""

import gzip
import warnings
from itertools import product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_cohort import LPS

from semilung.data.io.units import implausible_edges
from semilung.data.io.volume import read_grid, read_volume, write_volume
from semilung.types import UserError

SHAPE = (4, 5, 6)
DATA = np.arange(120).reshape(SHAPE).astype(np.int16)
TURNED = np.array([[0, -0.7, 0, 5], [0.6, 0, 0.8, -3], [-0.8, 0, 0.6, 1], [0, 0, 0, 1.0]])
TURNED[:3, :3] = np.linalg.qr(TURNED[:3, :3])[0] * [0.7, 0.8, 2.5]


def content(kind=nib.Nifti1Image, behind=bytes(4), **fields):
    """A whole file's bytes, with header fields as they are given and any four bytes behind it."""
    image = kind(DATA, LPS)
    image.header.set_sform(LPS, 1)
    size = 348 if kind is nib.Nifti1Image else 540
    image.header["vox_offset"] = size + len(behind)
    image.header["magic"] = kind.header_class().structarr["magic"]
    for name, value in fields.items():
        image.header[name] = value
    return image.header.binaryblock + behind + DATA.tobytes(order="F")


def itk(path):
    """Where ITK sees a file."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    image = sitk.ReadImage(str(path))
    return np.array([*image.GetOrigin(), *image.GetDirection(), *image.GetSpacing()])


def warned(read, *arguments):
    """What is returned, and the warnings on the way as one text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = read(*arguments)
    return result, " ".join(str(one.message) for one in caught)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("offset", [0, 4, 108, 340, -16])
def test_read_volume_offset_within_the_header_is_refused_by_name(tmp_path, kind, offset, packed):
    raw, path = content(kind, vox_offset=offset), tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(UserError, match=rf"begin at byte {offset} \(vox_offset\), where (352|544)"):
        read_volume(path)


@pytest.mark.parametrize("offset", [351.5, 352.5, np.nan, np.inf, 1e30])
def test_read_volume_offset_that_is_no_place_names_the_offset(tmp_path, offset):
    (tmp_path / "a.nii").write_bytes(content(vox_offset=offset))
    with pytest.raises(UserError, match=r"byte (351\.5|352\.5|nan|inf|\d{30})"):
        read_volume(tmp_path / "a.nii")


def test_read_volume_offset_beyond_the_end_names_the_offset(tmp_path):
    (tmp_path / "a.nii").write_bytes(content(vox_offset=4096))
    with pytest.raises(UserError, match=r"from byte 4096 on, 4336 bytes in all, .* truncated"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_read_volume_extensions_are_skipped(tmp_path, kind):
    image = kind(DATA, LPS)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"nodules" * 20))
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").data, DATA)


def test_read_volume_extension_that_reaches_into_the_voxels_is_refused(tmp_path):
    extension = b"\1\0\0\0" + (32).to_bytes(4, "little") + (6).to_bytes(4, "little") + b"x" * 24
    (tmp_path / "a.nii").write_bytes(content(behind=extension))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").data, DATA)
    (tmp_path / "a.nii").write_bytes(content(behind=extension, vox_offset=352))
    with pytest.raises(UserError, match=r"extension of 32 bytes reaches beyond byte 352"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("kind", "magic", "word"),
    [
        (nib.Nifti1Image, b"ni1", r"magic 'ni1' says .* \.img file"),
        (nib.Nifti2Image, b"ni2\0\r\n\x1a\n", r"magic 'ni2' says .* \.img file"),
        (nib.Nifti1Image, b"", "Analyze"),
        (nib.Nifti1Image, b"n+2", "Analyze"),
    ],
)
@pytest.mark.parametrize("offset", [None, 0])
def test_read_volume_magic_of_a_pair_is_refused_by_name(tmp_path, kind, magic, word, offset):
    fields = {"magic": magic} | ({} if offset is None else {"vox_offset": offset})
    (tmp_path / "a.nii").write_bytes(content(kind, **fields))
    with pytest.raises(UserError, match=word):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("form", ["sform", "qform"])
@pytest.mark.parametrize(
    ("code", "factor"), [(0, 1), (1, 1e-3), (2, 1), (3, 1e3), (1 | 8, 1e-3), (3 | 24, 1e3)]
)
def test_read_volume_unit_of_length_is_converted_as_itk_converts_it(tmp_path, code, factor, form):
    scaled = np.diag([factor, factor, factor, 1]) @ TURNED
    image = nib.Nifti1Image(DATA, None)
    image.set_sform(scaled, int(form == "sform"))
    image.set_qform(scaled, int(form == "qform"))
    image.header["xyzt_units"] = code
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").affine, TURNED, atol=1e-5)
    by_hand = [*(TURNED[:3, 3] * [-1, -1, 1]), *np.linalg.norm(TURNED[:3, :3], axis=0)]
    np.testing.assert_allclose(itk(tmp_path / "a.nii")[[0, 1, 2, -3, -2, -1]], by_hand, atol=1e-4)


def test_read_volume_unit_that_is_none_is_refused_by_name(tmp_path):
    (tmp_path / "a.nii").write_bytes(content(xyzt_units=5))
    with pytest.raises(UserError, match="xyzt_units 'code 5' is no known unit of length"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("edges", "word"),
    [
        ((0.05, 0.05, 0.05), "look like centimetres"),
        ((20.0, 20.0, 20.0), "not a CT's"),
        ((0.003, 0.003, 0.005), "look like metres"),
        ((700.0, 700.0, 2500.0), "look like microns"),
        ((0.5, 0.5, 20.0), "not a CT's"),
        ((0.5, 0.5, 10.0), None),
        ((0.1, 0.1, 0.1), None),
        ((12.0, 12.0, 12.0), None),
        ((1.0, 1.0, 1.0), None),
    ],
)
def test_read_grid_voxel_edges_no_ct_has_are_questioned(tmp_path, edges, word):
    write_volume(tmp_path / "a.nii", DATA, np.diag([*edges, 1.0]))
    if word is None:
        assert read_volume(tmp_path / "a.nii").spacing_mm == pytest.approx(edges)
        assert implausible_edges(edges) is None
        return
    with pytest.raises(UserError, match=word):
        read_grid(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("name", "packed", "word"),
    [
        ("a.nii.gz", False, r"not compressed .* name it \.nii,"),
        ("a.nii", True, r"name it \.nii\.gz"),
    ],
)
def test_read_volume_name_that_belies_its_compression_says_which_it_is(
    tmp_path, name, packed, word
):
    (tmp_path / name).write_bytes(gzip.compress(content()) if packed else content())
    with pytest.raises(UserError, match=word):
        read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"datatype": 9999}, "data code 9999 not recognized"),
     ({"scl_slope": 2, "scl_inter": np.inf}, "invalid intercept inf")],
)  # fmt: skip
def test_read_volume_invalid_value_is_named_and_not_called_damage(tmp_path, fields, word):
    (tmp_path / "a.nii").write_bytes(content(**fields))
    with pytest.raises(UserError, match=word) as error:
        read_volume(tmp_path / "a.nii")
    assert "copy it again" not in str(error.value)


FORMS = list(product((0, 1, 2), (0, 1, 2, 4), (True, False)))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(("qform_code", "sform_code", "agree"), FORMS)
def test_write_volume_like_lies_on_its_scan_in_every_viewer(
    tmp_path, qform_code, sform_code, agree, flipped, kind
):
    affine = TURNED.copy()
    if flipped:
        affine[:3, 0] *= -1  # pixdim[0] of one of them is -1
    other = affine.copy()
    other[0, 3] += 0 if agree else 30
    image = kind(DATA, None)
    image.set_sform(affine, sform_code)
    image.set_qform(other, qform_code)
    image.header.set_xyzt_units("mm")
    scan, mask = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    nib.save(image, scan)

    volume, said = warned(read_volume, scan)
    write_volume(mask, volume.data > 3, volume.affine, like=scan)
    if kind is nib.Nifti1Image:  # the only one that ITK reads
        np.testing.assert_allclose(itk(mask), itk(scan), atol=1e-5)
    np.testing.assert_allclose(nib.load(mask).affine, nib.load(scan).affine, atol=1e-6)
    theirs, ours = nib.load(scan).header, nib.load(mask).header
    assert [int(ours[n]) for n in ("qform_code", "sform_code")] == [qform_code, sform_code]
    np.testing.assert_allclose(ours["pixdim"][:4], theirs["pixdim"][:4], atol=1e-6)
    np.testing.assert_allclose(ours.get_qform(), theirs.get_qform(), atol=1e-5)
    np.testing.assert_allclose(ours.get_sform(), theirs.get_sform(), atol=1e-5)

    if not qform_code and not sform_code:
        assert "neither a qform nor an sform" in said
    elif qform_code and sform_code and not agree:
        assert f"qform (code {qform_code}) and sform (code {sform_code}) disagree by" in said
        assert "30.0 mm; the sform is followed" in said
    else:
        assert said == ""


def test_write_volume_like_keeps_the_scans_unit_of_length(tmp_path):
    image = nib.Nifti1Image(DATA, np.diag([1e-3, 1e-3, 1e-3, 1]) @ LPS)
    image.header.set_xyzt_units("meter", "sec")
    nib.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    write_volume(tmp_path / "mask.nii", volume.data > 3, volume.affine, like=tmp_path / "scan.nii")
    np.testing.assert_allclose(itk(tmp_path / "mask.nii"), itk(tmp_path / "scan.nii"), rtol=1e-6)
    np.testing.assert_allclose(read_volume(tmp_path / "mask.nii").affine, LPS, atol=1e-6)
    assert nib.load(tmp_path / "mask.nii").header.get_xyzt_units() == ("meter", "unknown")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_write_volume_like_a_source_of_one_transform_writes_both_forms(tmp_path, suffix):
    image = sitk.GetImageFromArray(DATA.T)
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-100, 50, 20))
    scan, mask = tmp_path / f"scan{suffix}", tmp_path / "mask.nii.gz"
    sitk.WriteImage(image, str(scan))
    volume = read_volume(scan)
    write_volume(mask, volume.data > 3, volume.affine, like=scan)
    np.testing.assert_allclose(itk(mask), itk(scan), atol=1e-5)
    header = nib.load(mask).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-5)


def test_write_volume_slight_shear_is_left_to_the_sform(tmp_path):
    affine = np.diag([0.7, 0.7, 2.5, 1.0])
    affine[1, 2] = 2.5 * np.tan(np.radians(0.9))
    data = np.zeros((8, 8, 40), np.uint8)
    write_volume(tmp_path / "a.nii", data, affine)
    volume, said = warned(read_volume, tmp_path / "a.nii")
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    assert said == ""


def test_read_volume_edges_of_pixdim_that_differ_are_warned_of(tmp_path):
    (tmp_path / "a.nii").write_bytes(content(pixdim=[1, 0.7, 0.7, 9, 0, 0, 0, 0], qform_code=0))
    volume, said = warned(read_volume, tmp_path / "a.nii")
    np.testing.assert_allclose(volume.affine, LPS)
    assert "pixdim states voxels of 0.7 x 0.7 x 9 mm" in said


@pytest.mark.parametrize("cases", [60, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")
def test_read_volume_of_any_geometry_fields_never_yields_header_bytes(tmp_path, cases):
    """Whatever offset, unit, codes and extension say: the voxels, or a refusal."""
    number = st.sampled_from([0.0, -1.0, 1.0, 3.0, 1e-3, 348.0, 352.0, 368.0, np.nan, np.inf, 1e30])

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        fields=st.fixed_dictionaries(
            {},
            optional={
                "vox_offset": number,
                "xyzt_units": st.integers(0, 255),
                "qform_code": st.integers(-2, 6),
                "sform_code": st.integers(-2, 6),
                "quatern_b": number,
                "qoffset_x": number,
                "srow_x": st.lists(number, min_size=4, max_size=4),
                "pixdim": st.lists(number, min_size=8, max_size=8),
                "magic": st.sampled_from([b"n+1", b"ni1", b"", b"n+2"]),
            },
        ),
        behind=st.binary(min_size=4, max_size=4)
        | st.tuples(st.integers(0, 64), st.integers(0, 64)).map(
            lambda pair: b"\1\0\0\0" + b"".join(n.to_bytes(4, "little") for n in pair)
        ),
    )
    def check(fields, behind):
        (tmp_path / "a.nii").write_bytes(content(behind=behind, **fields))
        try:
            volume = read_volume(tmp_path / "a.nii")
        except UserError:
            return
        offset = int(fields.get("vox_offset", 348 + len(behind)))
        assert offset >= 352
        raw = (tmp_path / "a.nii").read_bytes()[offset : offset + DATA.nbytes]
        assert volume.data.tobytes(order="F") == raw
        write_volume(tmp_path / "b.nii", volume.data, volume.affine, like=tmp_path / "a.nii")
        np.testing.assert_array_equal(read_grid(tmp_path / "b.nii").affine, volume.affine)

    check()
