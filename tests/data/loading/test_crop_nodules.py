"""Nodules of a crop: those whose ball touches it, and no others."""

from types import SimpleNamespace

import numpy as np
import pytest

from semilung.data.cache.prepared_case import PreparedNodule
from semilung.data.loading.crop_geometry import Geometry
from semilung.data.loading.crop_nodules import crop_nodules
from semilung.data.manifest.targets import Target

SIZE, LOW = (8, 10, 12), (20, 20, 20)


def rows(offset, diameter_mm, spacing_mm=(1.0, 1.0, 1.0), **geometry):
    """Of one nodule at an offset from the crop's first voxel, in a volume that holds all."""
    return crop_of([(offset, diameter_mm, {})], (), spacing_mm, **geometry)[0]


def crop_of(nodules, targets, spacing_mm=(1.0, 1.0, 1.0), **geometry):
    prepared = [
        PreparedNodule(
            str(i), tuple(float(a + b) for a, b in zip(LOW, o, strict=True)), mm, targets=t
        )
        for i, (o, mm, t) in enumerate(nodules)
    ]
    item = SimpleNamespace(nodules=prepared, shape=(60, 60, 60), spacing_mm=spacing_mm)
    return crop_nodules(item, LOW, Geometry(SIZE, **geometry), targets)


def test_crop_nodules_have_their_targets_next_to_them():
    vote = Target.of("vote", {"kind": "binary", "values": ["benign", "malignant"]})
    nodules = [
        ((-30, 5, 6), 6, {"vote": "benign"}),
        ((4, 5, 6), 6, {"vote": "malignant"}),
        ((2, 2, 2), 4, {}),
    ]
    points, numbers = crop_of(nodules, (vote,), zoom=2.0)
    assert points[:, 3].tolist() == [12, 8]
    np.testing.assert_array_equal(numbers, [[6, 1], [4, np.nan]])  # diameters before the zoom


@pytest.mark.parametrize(
    ("offset", "diameter_mm", "touches"),
    [
        ((4, 5, 6), 1, True),  # inside
        ((-3, 5, 6), 6, True),  # its surface in the first voxel's centre
        ((-3, 5, 6), 5.9, False),
        ((4, 12, 6), 6, True),  # in the last one's, of index 9
        ((4, 12, 6), 5.9, False),
        ((4, 5, 14), 6, True),
        ((4, 5, 14), 5.9, False),
        ((-3, -4, 6), 10, True),  # an edge: 5 mm away
        ((-3, -4, 6), 9.9, False),
        ((-5, 5, 6), None, True),  # taken as 10 mm where it was not measured
        ((-5.1, 5, 6), None, False),
    ],
)
def test_crop_nodules_are_those_whose_ball_touches_the_crop(offset, diameter_mm, touches):
    actual = rows(offset, diameter_mm)
    assert len(actual) == touches
    if touches:
        np.testing.assert_allclose(actual[0], [*offset, diameter_mm or np.nan, 1])


@pytest.mark.parametrize(("diameter_mm", "touches"), [(8.0, True), (7.9, False)])
def test_crop_nodules_distance_is_in_mm_along_each_axis(diameter_mm, touches):
    spacing_mm = (1.0, 1.0, 4.0)
    assert len(rows((4, 5, -1), diameter_mm, spacing_mm)) == touches
    assert len(rows((-4, 5, 6), diameter_mm, spacing_mm)) == touches


@pytest.mark.parametrize(("diameter_mm", "touches"), [(3.1, True), (2.9, False)])
def test_crop_nodules_of_a_zoomed_crop_are_measured_after_the_zoom(diameter_mm, touches):
    matrix = np.eye(3) / 2  # enlarged twice: the crop shows 3.5 voxels of 7
    offset = (3.5 - 3.5 / 2 - 1.5, 4.5, 5.5)  # 3 voxels from the crop once it is enlarged
    actual = rows(offset, diameter_mm, matrix=matrix, zoom=2.0)
    assert len(actual) == touches
    if touches:
        np.testing.assert_allclose(actual[0, :4], [-3, 4.5, 5.5, 2 * diameter_mm], rtol=1e-6)
