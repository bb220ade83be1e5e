"""MetaImage and NRRD: missing fields, other units, and segmentations of 3D Slicer."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from small_cohort import write_table
from test_text_header import BY_HAND, DATA, DETACHED, MHD, NRRD, put

from semilung.data import DataConfig, check_manifest, prepare, read_manifest
from semilung.data.io.volume import read_grid, read_volume, write_volume
from semilung.types import UserError


@pytest.mark.parametrize(
    ("unit", "factor"), [("um", 1e3), ("mm", 1), ("?", 1), ("", 1), ("cm", 0.1), ("M", 1e-3)]
)
def test_read_grid_metaimage_unit_of_length_is_converted(tmp_path, unit, factor):
    spacing, offset = np.array([0.5, 0.75, 2.5]) * factor, np.array([-195, 10, -378]) * factor
    header = MHD.replace("DistanceUnits = mm", f"DistanceUnits = {unit}")
    header = header.replace("0.5 0.75 2.5", " ".join(map(str, spacing)))
    header = header.replace("-195.0 10 -378", " ".join(map(str, offset)))
    affine = read_grid(put(tmp_path, header, name="a.mhd")).affine
    np.testing.assert_allclose(affine[:3], BY_HAND, rtol=1e-9)


@pytest.mark.parametrize("field", ["space units", "units"])
@pytest.mark.parametrize(
    ("unit", "factor"),
    [("mm", 1), ("millimeters", 1), ("m", 1e-3), ("Metre", 1e-3), ("um", 1e3), ("µm", 1e3),
     ("microns", 1e3), ("", 1), ("cm", 0.1)],
)  # fmt: skip
def test_read_grid_nrrd_unit_of_length_is_converted(tmp_path, field, unit, factor):
    header = NRRD.replace('space units: "mm" "mm" "mm"', f"{field}: " + f'"{unit}" ' * 3)
    header = header.replace("(0.5,0,0) (0,0.75,0) (0,0,2.5)", " ".join(
        f"({','.join(map(str, row))})" for row in np.diag([0.5, 0.75, 2.5]) * factor))  # fmt: skip
    header = header.replace("-195,10,-378", ",".join(map(str, np.array([-195, 10, -378]) * factor)))
    path = put(tmp_path, header + "data file: a.raw\n", name="a.nhdr")
    np.testing.assert_allclose(read_grid(path).affine[:3], BY_HAND, rtol=1e-9)


def test_read_grid_nrrd_units_are_those_of_directions_in_space(tmp_path):
    """And not of the array's axes, which run otherwise here."""
    header = DETACHED["a.nhdr"].replace('"mm" "mm" "mm"', '"mm" "mm" "um"')
    header = header.replace("(0.5,0,0) (0,0.75,0) (0,0,2.5)", "(0,0,2500) (0.5,0,0) (0,0.75,0)")
    affine = read_grid(put(tmp_path, header, name="a.nhdr")).affine
    expected = [[0, -0.5, 0, 195], [0, 0, -0.75, -10], [2.5, 0, 0, -0.378]]
    np.testing.assert_allclose(affine[:3], expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "TransformMatrix", BY_HAND),
        ("Offset = -195.0 10 -378\n", "Offset", np.array(BY_HAND) * [1, 1, 1, 0]),
        ("ElementSpacing = 0.5 0.75 2.5\n", "ElementSpacing",
         [[-1, 0, 0, 195], [0, -1, 0, -10], [0, 0, 1, -378]]),
    ],
)  # fmt: skip
def test_read_volume_metaimage_field_left_out_is_the_default_with_a_warning(
    tmp_path, line, name, expected
):
    path = put(tmp_path, MHD.replace(line, ""), name="a.mhd")
    with pytest.warns(UserWarning, match=f"has no {name}; the format's default is used"):
        volume = read_volume(path)
    np.testing.assert_allclose(volume.affine[:3], expected)
    np.testing.assert_array_equal(volume.data, DATA)
    image = sitk.ReadImage(str(path))
    x, y, z = image.TransformIndexToPhysicalPoint((3, 1, 2))
    np.testing.assert_allclose(volume.affine @ [3, 1, 2, 1], [-x, -y, z, 1])


def test_read_volume_bare_metaimage_names_all_that_is_missing(tmp_path):
    header = "NDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\nElementDataFile = a.raw\n"
    names = "no ElementSpacing, no TransformMatrix, no Offset"
    with pytest.warns(UserWarning, match=names):
        volume = read_volume(put(tmp_path, header, name="a.mhd"))
    np.testing.assert_allclose(volume.affine, np.diag([-1.0, -1.0, 1.0, 1.0]))


def test_read_grid_nrrd_without_origin_warns(tmp_path):
    header = DETACHED["a.nhdr"].replace("space origin: (-195,10,-378)\n", "")
    with pytest.warns(UserWarning, match="no space origin; the format's default"):
        affine = read_grid(put(tmp_path, header, name="a.nhdr")).affine
    np.testing.assert_allclose(affine[:3, 3], 0)


def layered(folder, layers, *, place=0, note=""):
    """A 4D NRRD whose axis of layers, the first or the last one, has no direction."""
    sizes, directions, kinds = (
        ["4", "5", "6"],
        ["(0.5,0,0)", "(0,0.75,0)", "(0,0,2.5)"],
        ["domain"] * 3,
    )
    sizes.insert(place, str(layers))
    directions.insert(place, "none")
    kinds.insert(place, "list")
    header = NRRD.replace("dimension: 3", "dimension: 4").replace("4 5 6", " ".join(sizes))
    header = header.replace("(0.5,0,0) (0,0.75,0) (0,0,2.5)", " ".join(directions))
    header = header.replace("domain domain domain", " ".join(kinds))
    voxels = DATA.tobytes(order="F") * layers
    (folder / "a.seg.nrrd").write_bytes(f"{header}{note}\n".encode() + voxels)
    return folder / "a.seg.nrrd"


def test_read_volume_several_volumes_in_one_nrrd_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"3D volume is wanted, found sizes .* split it"):
        read_volume(layered(tmp_path, 2))


@pytest.mark.parametrize("place", [0, 3])
def test_read_volume_a_single_layer_is_a_volume(tmp_path, place):
    volume = read_volume(layered(tmp_path, 1, place=place))
    np.testing.assert_array_equal(volume.data, DATA)
    np.testing.assert_allclose(volume.affine[:3], BY_HAND)


LOW, SIZE = np.array([3, 4, 5]), (6, 5, 4)


def cropped(folder, *, shift=(0.0, 0.0, 0.0), low=LOW, name="mask.seg.nrrd"):
    """A scan, and its mask cropped as 3D Slicer does; in LPS, as the scan is not."""
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    affine[:3, 3] = (-10, 20, -30)
    hu = np.full((20, 18, 16), -850, np.int16)
    hu[3:9, 4:9, 5:9] = 40
    write_volume(folder / "ct.nii.gz", hu, affine)
    image = sitk.GetImageFromArray(np.ones(SIZE, np.uint8).T)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetSpacing((0.8, 0.8, 2.0))
    x, y, z = (affine @ [*low, 1])[:3] + shift
    image.SetOrigin((-x, -y, z))
    sitk.WriteImage(image, str(folder / name))
    row = {"case": "c", "patient": "p", "image": "ct.nii.gz", "role": "labelled", "mask": name}
    return write_table(folder / "m.csv", [row])


def test_prepare_cropped_segmentation_is_placed_on_the_scan(tmp_path):
    manifest = cropped(tmp_path)
    assert check_manifest(manifest) == []
    config = DataConfig(cache=str(tmp_path / "cache"), spacing_mm=None, crop_to_lungs=False)
    (item,) = prepare(read_manifest(manifest), config, processes=0)
    expected = np.zeros((20, 18, 16), np.uint8)
    expected[3:9, 4:9, 5:9] = 1
    np.testing.assert_array_equal(item.read("mask"), expected)


@pytest.mark.parametrize(
    "odd",
    [{"shift": (0.4, 0, 0)}, {"shift": (0, 0, 1.0)}, {"low": np.array([16, 4, 5])},
     {"low": np.array([-1, 4, 5])}, {"name": "mask.nii.gz"}, {"name": "mask.mha"}],
)  # fmt: skip
def test_check_manifest_mask_that_is_no_part_of_the_scan_is_refused(tmp_path, odd):
    (issue,) = check_manifest(cropped(tmp_path, **odd))
    assert "is not the image's" in issue.message
