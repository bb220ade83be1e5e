from __future__ import annotations

import numpy as np
import pytest

from semilung.data.config import DataConfig
from semilung.data.grids import boxed
from semilung.data.lungs import lung_box
from semilung.data.manifest import Case
from semilung.data.prepare import prepare
from semilung.data.volume import Volume, write_volume
from semilung.types import UserError

WHOLE = (slice(0, 120), slice(0, 120), slice(0, 100))


def chest():
    """A body of 300 x 240 mm at 3 mm in air, two lungs of 75 x 120 x 180 mm, and a table."""
    hu = np.full((120, 120, 100), -1000, np.int16)
    hu[10:110, 20:100] = 40
    hu[20:45, 40:80, 20:80] = -850
    hu[70:95, 40:80, 20:80] = -850
    hu[50:53, 60:63, 5] = -900  # gas in the bowel
    hu[5:115, 110:112] = 200
    return Volume(hu, np.diag([3.0, 3, 3, 1]))


def test_the_box_holds_both_lungs_and_the_margin_and_little_else():
    box = lung_box(chest(), 9.0)
    assert [(cut.start, cut.stop) for cut in box] == [(17, 98), (37, 83), (17, 83)]


def test_the_margin_ends_at_the_volume():
    assert lung_box(chest(), 1000.0) == WHOLE


def test_boxing_moves_the_affine_along():
    part = boxed(chest(), lung_box(chest(), 0.0))
    assert part.shape == (75, 40, 60)
    np.testing.assert_array_equal(part.affine[:3, 3], [60, 120, 60])


@pytest.mark.parametrize("hu", [-850, 40])
def test_a_cube_within_a_lung_or_without_one_stays_whole(hu):
    cube = Volume(np.full((51, 51, 51), hu, np.int16), np.eye(4))
    assert lung_box(cube, 10.0) == (slice(0, 51),) * 3


def test_a_body_without_lungs_stays_whole():
    volume = chest()
    volume.data[volume.data == -850] = 40
    assert lung_box(volume, 10.0) == WHOLE


def test_a_nodule_beyond_the_box_is_told(tmp_path):
    volume = chest()
    mask = np.zeros(volume.shape, np.uint8)
    mask[30:33, 50:53, 50:53] = 1
    mask[100:103, 90:93, 90:93] = 2
    write_volume(tmp_path / "i.nii.gz", volume.data, volume.affine)
    write_volume(tmp_path / "m.nii.gz", mask, volume.affine)
    case = Case("a", "p", tmp_path / "i.nii.gz", "labelled", tmp_path / "m.nii.gz")
    config = DataConfig(cache=str(tmp_path / "c"), spacing_mm=None)
    with pytest.raises(UserError, match=r"nodules \[2\] lie outside.*crop_to_lungs=false"):
        prepare([case], config, progress=False)
    config.crop_to_lungs = False
    (item,) = prepare([case], config, progress=False)
    assert item.shape == volume.shape
