"""Centre heatmaps: hand-derived values, strides, crops and padding."""

import math

import pytest
import torch

from semilung.data.loading.gaussian_heatmap import gaussian_heatmap

MM = (1.0, 1.0, 1.0)


def heatmap(*nodules, shape=(8, 8, 8), spacing_mm=MM, stride=1):
    """Of rows x, y, z, diameter."""
    table = torch.tensor(nodules, dtype=torch.float32).reshape(-1, 4)
    return gaussian_heatmap(table[:, :3], table[:, 3], shape, spacing_mm, stride=stride)


def test_gaussian_heatmap_is_a_gaussian_of_a_sixth_of_the_diameter_in_mm():
    result = heatmap((2, 3, 4, 12), spacing_mm=(1.0, 2.0, 0.5))
    assert result.shape == (8, 8, 8)
    assert result.dtype == torch.float32
    for voxel in ((2, 3, 4), (3, 3, 4), (2, 4, 4), (2, 3, 6), (5, 1, 0)):
        squared = sum(
            ((a - b) * s) ** 2 for a, b, s in zip(voxel, (2, 3, 4), (1, 2, 0.5), strict=True)
        )
        assert result[voxel].item() == pytest.approx(math.exp(-squared / (2 * 2**2)), rel=1e-5)


@pytest.mark.parametrize("diameter", [3, 6, 30])
def test_gaussian_heatmap_width_follows_the_diameter(diameter):
    result = heatmap((20, 20, 20, diameter), shape=(41, 41, 41))
    border = 20 + diameter // 2  # three sigma from the centre
    sigma = diameter / 6
    expected = math.exp(-((diameter // 2) ** 2) / (2 * sigma**2))
    assert result[border, 20, 20].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("stride", "centre", "voxel"),
    [
        (1, (2.4, 2.5, 7), (2, 3, 7)),
        (2, (0, 1, 1.49), (0, 0, 0)),
        (2, (1.5, 2, 3.4), (1, 1, 1)),
        (4, (3.49, 3.5, 7), (0, 1, 1)),
    ],
)
def test_gaussian_heatmap_is_1_in_the_voxel_that_holds_the_centre(stride, centre, voxel):
    result = heatmap((*centre, 3), stride=stride)
    assert result.shape == (8 // stride,) * 3
    assert (result == 1).nonzero().tolist() == [list(voxel)]


def test_gaussian_heatmap_at_a_stride_has_distances_of_the_output_voxels():
    result = heatmap((0, 0, 0, 12), spacing_mm=(1.0, 1.0, 2.0), stride=2)
    assert result[1, 0, 0].item() == pytest.approx(math.exp(-(2**2) / 8))
    assert result[0, 0, 1].item() == pytest.approx(math.exp(-(4**2) / 8))


def test_gaussian_heatmap_of_several_nodules_is_their_maximum():
    one, other = (2, 2, 2, 12), (4, 2, 2, 6)
    expected = torch.maximum(heatmap(one), heatmap(other))
    assert torch.equal(heatmap(one, other), expected)
    assert (expected == 1).sum() == 2


def test_gaussian_heatmap_of_a_centre_outside_has_a_flank_but_no_centre():
    result = heatmap((-2, 4, 4, 12), (8, 4, 4, 12))
    assert result.max() < 1
    assert result[0, 4, 4].item() == pytest.approx(math.exp(-4 / 8))
    assert result[7, 4, 4].item() == pytest.approx(math.exp(-1 / 8))


def test_gaussian_heatmap_leaves_out_padding_and_takes_10_mm_where_unmeasured():
    nan = math.nan
    assert torch.equal(heatmap((2, 2, 2, nan), (nan,) * 4), heatmap((2, 2, 2, 10)))
    assert heatmap((nan,) * 4).abs().sum() == heatmap().abs().sum() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 8, 6), "stride": 4}, "no multiple of the stride 4"),
        ({"stride": 0}, "no multiple of the stride 0"),
    ],
)
def test_gaussian_heatmap_of_another_shape_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        heatmap((2, 2, 2, 6), **options)


def test_gaussian_heatmap_of_a_diameter_that_is_not_positive_is_an_error():
    with pytest.raises(ValueError, match="diameters must be positive, got -1"):
        heatmap((2, 2, 2, -1))
