"""MetaImage and NRRD: agreement with ITK, and refusal of unsupported files."""

import gzip
import zlib
from contextlib import suppress

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from semilung.data import DataConfig, prepare, read_manifest
from semilung.data.cache.prepare import prepared_image
from semilung.data.io.same_grid import same_grid
from semilung.data.io.volume import files_of, read_grid, read_volume, to_ras
from semilung.types import UserError

SHAPE = (4, 5, 6)
DATA = np.arange(120, dtype=np.int16).reshape(SHAPE, order="F") * 3 - 100
MHD = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -195.0 10 -378
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
0008|0060 = CT
ElementSpacing = 0.5 0.75 2.5
DistanceUnits = mm
DimSize = 4 5 6
ElementType = MET_SHORT
ElementDataFile = a.raw
"""
NRRD = """NRRD0004
# made by hand
type: short
dimension: 3
space: left-posterior-superior
sizes: 4 5 6
space directions: (0.5,0,0) (0,0.75,0) (0,0,2.5)
kinds: domain domain domain
space units: "mm" "mm" "mm"
endian: little
encoding: raw
space origin: (-195,10,-378)
DICOM_0008_0060:=CT
"""
DETACHED = {"a.mhd": MHD, "a.nhdr": NRRD + "data file: a.raw\n"}
BY_HAND = [[-0.5, 0, 0, 195], [0, -0.75, 0, -10], [0, 0, 2.5, -378]]
"""The affine of both: x and y change sign between LPS and RAS."""


def put(folder, header, *, name, voxels=None):
    """Write a header and its file of voxels, DATA by default."""
    (folder / "a.raw").write_bytes(DATA.tobytes(order="F") if voxels is None else voxels)
    (folder / name).write_text(header)
    return folder / name


@pytest.mark.parametrize(
    ("name", "header"), [("a.mhd", MHD), ("a.nhdr", NRRD + "data file: a.raw")]
)
def test_read_volume_header_by_hand_has_the_expected_grid(tmp_path, name, header):
    volume = read_volume(put(tmp_path, header, name=name))
    np.testing.assert_array_equal(volume.data, DATA)
    assert volume.affine[:3].tolist() == BY_HAND


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    suffix=st.sampled_from([".mhd", ".mha", ".nrrd", ".nhdr"]),
    dtype=st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]),
    packed=st.booleans(),
    turn=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 5)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_read_volume_agrees_with_itk(tmp_path, suffix, dtype, packed, turn, spacing, origin):
    data = np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)
    image = sitk.GetImageFromArray(data.T)
    image.SetDirection(Rotation.from_rotvec(turn).as_matrix().ravel().tolist())
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"), useCompression=packed)

    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.data.dtype == data.dtype
    np.testing.assert_array_equal(volume.data, data)
    for index in [(0, 0, 0), (3, 1, 2), (1, 4, 5)]:
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(volume.affine @ [*index, 1], [-x, -y, z, 1], atol=1e-3)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd", ".nhdr"])
def test_read_volume_has_the_grid_of_the_nifti(tmp_path, suffix):
    image = sitk.GetImageFromArray(DATA.T)
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-100, 50, 20))
    for name in (f"a{suffix}", "a.nii.gz"):
        sitk.WriteImage(image, str(tmp_path / name))
    ours, nifti = (to_ras(read_volume(tmp_path / name)) for name in (f"a{suffix}", "a.nii.gz"))
    assert same_grid(ours, nifti)
    np.testing.assert_array_equal(ours.data, nifti.data)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.mhd", "OrderMSB = False", "OrderMSB = True"),
        ("a.nhdr", "endian: little", "endian: big"),
    ],
)
def test_read_volume_big_endian_voxels_are_read(tmp_path, name, old, new):
    voxels = DATA.astype(">i2").tobytes(order="F")
    path = put(tmp_path, DETACHED[name].replace(old, new), name=name, voxels=voxels)
    np.testing.assert_array_equal(read_volume(path).data, DATA)


@pytest.mark.parametrize(
    ("space", "x", "y"),
    [("right-anterior-superior", 1, 1), ("RAS", 1, 1), ("left-anterior-superior", -1, 1),
     ("LAS", -1, 1), ("LPS", -1, -1)],
)  # fmt: skip
def test_read_grid_nrrd_spaces_differ_by_signs(tmp_path, space, x, y):
    header = DETACHED["a.nhdr"].replace("left-posterior-superior", space)
    affine = read_grid(put(tmp_path, header, name="a.nhdr")).affine
    signed = [[x * 0.5, 0, 0, x * -195], [0, y * 0.75, 0, y * 10], [0, 0, 2.5, -378]]
    assert affine[:3].tolist() == signed


@pytest.mark.parametrize(
    ("old", "new"),
    [("Offset", "Position"), ("Offset", "Origin"), ("TransformMatrix", "Rotation"),
     ("TransformMatrix", "Orientation"), ("ElementSpacing", "ElementSize"),
     ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"), ("= True", "= t"), ("= False", "= 0")],
)  # fmt: skip
def test_read_volume_synonyms_of_fields_are_read(tmp_path, old, new):
    assert old in MHD
    volume = read_volume(put(tmp_path, MHD.replace(old, new), name="a.mhd"))
    np.testing.assert_array_equal(volume.data, DATA)
    assert volume.affine[:3].tolist() == BY_HAND


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize("name", ["Müller", "Ångström x", "影像"])
def test_read_volume_file_names_of_any_script_are_read(tmp_path, suffix, name):
    sitk.WriteImage(sitk.GetImageFromArray(DATA.T), str(tmp_path / f"{name}{suffix}"))
    np.testing.assert_array_equal(read_volume(tmp_path / f"{name}{suffix}").data, DATA)


def test_read_volume_long_header_is_read_and_endless_one_refused(tmp_path):
    voxels = DATA.tobytes(order="F")
    for length in (100_000, 2_000_000):
        header = NRRD + f"note:={'x' * length}\n\n"
        (tmp_path / f"{length}.nrrd").write_bytes(header.encode() + voxels)
    np.testing.assert_array_equal(read_volume(tmp_path / "100000.nrrd").data, DATA)
    with pytest.raises(UserError, match="no empty line"):
        read_volume(tmp_path / "2000000.nrrd")
    (tmp_path / "a.nrrd").write_bytes(NRRD.encode())
    with pytest.raises(UserError, match="no empty line"):
        read_volume(tmp_path / "a.nrrd")


def packed_files():
    """Compressed files in one piece, by name: header and packed voxels."""
    raw = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype("<i2").tobytes()
    mha = MHD.replace("CompressedData = False", "CompressedData = True").replace("a.raw", "LOCAL")
    nrrd = NRRD.replace("raw", "gzip") + "\n"
    return {"a.mha": (mha, zlib.compress(raw)), "a.nrrd": (nrrd, gzip.compress(raw))}


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
@pytest.mark.parametrize("harm", ["a bit", "the end", "the checksum"])
def test_read_volume_damaged_compressed_voxels_are_refused(tmp_path, name, harm):
    header, packed = packed_files()[name]
    (tmp_path / name).write_bytes(header.encode() + packed)
    read_volume(tmp_path / name)
    if harm == "a bit":
        packed = packed[:90] + bytes([packed[90] ^ 4]) + packed[91:]
    else:
        packed = packed[: -40 if harm == "the end" else -2]
    (tmp_path / name).write_bytes(header.encode() + packed)
    with pytest.raises(UserError, match="truncated or damaged"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "header"), [("a.mhd", MHD), ("a.nhdr", NRRD + "data file: a.raw")]
)
def test_read_grid_missing_file_of_voxels_is_refused(tmp_path, name, header):
    path = put(tmp_path, header, name=name, voxels=bytes(100))
    with pytest.raises(UserError, match=r"a\.raw: .*its 100 bytes cannot hold them"):
        read_grid(path)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(UserError, match=r"'a\.raw'.*not in the header's folder"):
        read_grid(path)


@pytest.mark.parametrize("there", ["../b.raw", "/etc/passwd", "sub/b.raw", "..", ""])
def test_read_grid_file_of_voxels_outside_the_folder_is_refused(tmp_path, there):
    (tmp_path / "b.raw").write_bytes(bytes(1000))
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "b.raw").write_bytes(bytes(1000))
    for name, header in DETACHED.items():
        path = put(folder, header.replace("a.raw", there), name=name)
        with pytest.raises(UserError, match=r"the header's own folder|not in the header's folder"):
            read_grid(path)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("NDims = 3", "NDims = 2", "NDims = '2', but only 3"),
        ("NDims = 3", "NDims = 3\nElementNumberOfChannels = 3", "ElementNumberOfChannels"),
        ("NDims = 3", "NDims = 3\nHeaderSize = -1", "HeaderSize"),
        ("BinaryData = True", "BinaryData = False", "as text"),
        ("CompressedData = False", "CompressedData = no", "True or False is wanted"),
        ("MET_SHORT", "MET_STRING", "type 'MET_STRING'"),
        ("ElementSpacing = 0.5 0.75 2.5", "ElementSpacing = 0.5 2.5", "3 numbers are wanted"),
        ("DistanceUnits = mm", "DistanceUnits = furlong", "'furlong' is no known unit"),
        ("DimSize = 4 5 6", "DimSize = 4 5", "where NDims says 3"),
        ("TransformMatrix = 1 0", "TransformMatrix = 1", "9 numbers"),
        ("0.5 0.75 2.5", "0 0.75 2.5", "singular"),
        ("0.5 0.75 2.5", "nan 0.75 2.5", "finite"),
        ("DimSize = 4 5 6", "DimSize = 4000 5000 6000", "limit"),
        ("DimSize = 4 5 6", "DimSize = -4 5 6", "empty"),
        ("DimSize = 4 5 6\n", "", "no MetaImage"),
        ("DimSize = 4 5 6", "DimSize = 4 5 x", "DimSize is '4 5 x', where whole numbers"),
        ("a.raw", "LIST", "not in the header's folder"),
        ("a.raw", "slice%03d.raw 1 6 1", "not in the header's folder"),
    ],
)  # fmt: skip
def test_read_grid_unsupported_metaimage_is_refused(tmp_path, old, new, word):
    assert old in MHD
    with pytest.raises(UserError, match=word):
        read_grid(put(tmp_path, MHD.replace(old, new), name="a.mhd"))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("NRRD0004", "NRRD9", "no NRRD"),
        ("sizes: 4 5 6\n", "", "no NRRD"),
        ("space: left-posterior-superior\n", "", "space ''"),
        ("space: left-posterior-superior", "space: scanner-xyz", "scanner-xyz"),
        ("space directions: (0.5,0,0)", "space directions: none", "3D volume is wanted"),
        ("encoding: raw", "encoding: bzip2", "encoding 'bzip2'"),
        ("type: short", "type: block", "type 'block'"),
        ("endian: little\n", "", "endian ''"),
        ("endian: little", "endian: little\nbyte skip: -1", "byte skip"),
        ("endian: little", "endian: little\nbyteskip: 4", "byteskip"),
        ("endian: little", "endian: little\nline skip: 1", "line skip"),
        ("endian: little", "endian: little\nlineskip: 1", "lineskip"),
        ("dimension: 3", "dimension: 4", "dimension is 4, but sizes"),
        ("sizes: 4 5 6", "sizes: 3 4 5 6", "dimension is 3, but sizes"),
        ("3\nspace: left-posterior-superior\nsizes:", "4\nspace: lps\nsizes: 1", "3D volume"),
        ("sizes: 4 5 6", "sizes: 4 0 6", "empty"),
        ("sizes: 4 5 6", "sizes: 4 5 x", "sizes is '4 5 x', where whole numbers"),
        ('"mm" "mm" "mm"', '"mm" "mm" "parsec"', "space units 'parsec' is no known unit of length"),
        ('"mm" "mm" "mm"', '"mm" "mm"', "one unit for each of 3 directions"),
        ('space units: "mm" "mm" "mm"', 'units: "mm" "mm" "um"', "one unit for each"),
        ("(0.5,0,0)", "(0.5,x,0)", "space directions is .*, where 9 numbers"),
    ],
)  # fmt: skip
def test_read_grid_unsupported_nrrd_is_refused(tmp_path, old, new, word):
    assert old in NRRD
    header = DETACHED["a.nhdr"].replace(old, new)
    with pytest.raises(UserError, match=word):
        read_grid(put(tmp_path, header, name="a.nhdr"))


TOKENS = [
    "", "0", "-1", "1e400", "nan", "99999999999999999999", "4 5 6 7", "(1,0,0)", "../../b.raw",
    "%s", "LOCAL", "True", "gzip", "MET_DOUBLE", "double", "\0", "\xff", "=", ": ", "\n\n",
    "a" * 5000, '"um" "m" "cm"', '"parsec"', "um", "none (1,0,0) (0,1,0) (0,0,1)", "list domain",
]  # fmt: skip
"""What a fuzzed header may say in place of what it said."""


@st.composite
def damaged_headers(draw):
    """A sound header with words, lines and bytes that are others, or missing."""
    name = draw(st.sampled_from(["a.mhd", "a.nhdr", "a.mha", "a.nrrd"]))
    whole = name in DETACHED
    text = DETACHED[name] if whole else packed_files()[name][0]
    for _ in range(draw(st.integers(1, 4))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        mark = "=" if "=" in lines[at] else ":"
        token = draw(st.sampled_from([*TOKENS, *lines]))
        lines[at] = draw(st.sampled_from([token, f"{lines[at].split(mark)[0]}{mark} {token}"]))
        text = "\n".join(lines)
    content = text.encode("latin-1") + (b"" if whole else packed_files()[name][1])
    return name, content[: draw(st.sampled_from([len(content)] * 4 + [len(content) // 2, 60]))]


@pytest.mark.parametrize("cases", [60, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_read_volume_damaged_header_is_read_or_refused(tmp_path, cases):
    folder = tmp_path / "folder"
    folder.mkdir()
    put(folder, MHD, name="a.mhd")
    (tmp_path.parent / "b.raw").write_bytes(b"secret" * 100)

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged_headers())
    def check(damaged):
        name, content = damaged
        (folder / name).write_bytes(content)
        with suppress(UserError):
            volume = read_volume(folder / name)
            assert b"secret" not in volume.data.tobytes()
            prepared_image(volume, DataConfig(), name=name)

    check()


def test_prepare_changed_file_of_voxels_is_redone(tmp_path):
    hu = np.full((20, 20, 20), -800, np.int16)
    hu[5:15] = 0
    header = MHD.replace("4 5 6", "20 20 20")
    path = put(tmp_path, header, name="a.mhd", voxels=hu.tobytes(order="F"))
    assert files_of(path) == (path, tmp_path / "a.raw")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("case,patient,image,role\nc,p,a.mhd,unlabelled\n")
    config = DataConfig(cache=tmp_path / "cache", spacing_mm=None, crop_to_lungs=False)

    first = prepare(read_manifest(manifest), config)[0].read("image")
    put(tmp_path, header, name="a.mhd", voxels=(hu - 50).tobytes(order="F"))
    second = prepare(read_manifest(manifest), config)[0].read("image")
    assert second.mean() == first.mean() - 50
