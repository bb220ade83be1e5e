from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from semilung.data.cache.prepare import prepare, prepared_image
from semilung.data.cache.prepared_grid import at_spacing, boxed
from semilung.data.content import lungs
from semilung.data.content.lungs import BLOCK, cut_faces, find_lungs, lung_blocks, lung_box
from semilung.data.data_config import DataConfig
from semilung.data.io.volume import Volume, read_volume, to_ras, write_volume
from semilung.data.manifest.cases import Case
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


def box_of(volume, margin_mm):
    return lung_box(find_lungs(volume).lungs, volume, margin_mm)


def test_the_box_holds_both_lungs_and_the_margin_and_little_else():
    box = box_of(chest(), 9.0)
    assert [(cut.start, cut.stop) for cut in box] == [(17, 98), (37, 83), (17, 83)]


def test_lung_box_margin_ends_at_the_volume():
    assert box_of(chest(), 1000.0) == WHOLE


def test_boxed_volume_has_the_affine_of_its_part():
    part = boxed(chest(), box_of(chest(), 0.0))
    assert part.shape == (75, 40, 60)
    np.testing.assert_array_equal(part.affine[:3, 3], [60, 120, 60])


def finer(volume):
    """The same chest in voxels of half the size."""
    data = volume.data.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    affine = volume.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = -0.25 * np.array(volume.spacing_mm)
    return Volume(data, affine)


@pytest.mark.parametrize(("margin_mm", "scan"), [(0.0, chest()), (12.0, finer(chest()))])
def test_blocks_on_another_grid_are_those_within_the_margin_of_a_lung(margin_mm, scan):
    volume = chest()
    grid = at_spacing(boxed(volume, (slice(5, 110), slice(20, 100), slice(0, 90))), (2.0, 2.5, 4.0))
    blocks = lung_blocks(find_lungs(scan).lungs, grid, margin_mm)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    at_mm = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    lung_mm = np.array([[[60, 132], [210, 282]], [[120, 237]] * 2, [[60, 237]] * 2])
    beyond = [
        np.maximum(lung_mm[a][side][0] - at_mm[..., a], at_mm[..., a] - lung_mm[a][side][1])
        for side in (0, 1)
        for a in range(3)
    ]
    far = [np.linalg.norm(np.maximum(0, beyond[k : k + 3]), axis=0) for k in (0, 3)]
    near_mm = np.minimum(*far)
    for block in np.ndindex(*blocks.shape):
        nearest = near_mm[tuple(slice(BLOCK * i, BLOCK * (i + 1)) for i in block)].min()
        if abs(nearest - margin_mm) > 4.0:  # what a coarse voxel can be off
            assert blocks[block] == (nearest < margin_mm)


def test_a_prepared_scan_knows_its_lungs_where_it_was_cut_to_them(tmp_path):
    volume = chest()
    write_volume(tmp_path / "i.nii.gz", volume.data, volume.affine)
    case = Case("a", "p", tmp_path / "i.nii.gz", "healthy")
    config = DataConfig(cache=str(tmp_path / "c"), spacing_mm=(3.5, 3.5, 3.5))
    (item,) = prepare([case], config, progress=False)
    _, blocks = prepared_image(volume, config, name="a")
    np.testing.assert_array_equal(item.lungs, blocks)
    assert item.lungs.any()
    assert not item.lungs.all()
    config.crop_to_lungs = False
    (whole,) = prepare([case], config, progress=False)
    assert whole.lungs is None


@pytest.mark.parametrize("hu", [-850, 40])
def test_a_cube_within_a_lung_or_without_one_shows_no_lungs(hu):
    cube = Volume(np.full((51, 51, 51), hu, np.int16), np.eye(4))
    assert find_lungs(cube).lungs is None


@pytest.mark.parametrize("side", [slice(25, None), slice(None, 90)])
def test_a_lung_that_the_field_of_view_cuts_is_a_lung(side):
    volume = chest()
    cut = Volume(volume.data[side], volume.affine)
    np.testing.assert_array_equal(find_lungs(cut).lungs.data, find_lungs(volume).lungs.data[side])


def test_a_collapsed_lung_stays_and_gas_in_the_bowel_goes():
    volume = chest()
    volume.data[20:45] = np.where(volume.data[20:45] == -850, 40, volume.data[20:45])
    volume.data[30:42, 50:70, 40:70] = -850  # 7200 of 67200 voxels: 0.12 of the other lung
    volume.data[50:60, 40:60, 2:12] = -900  # 0.03 of it
    lungs = find_lungs(volume).lungs.data
    assert lungs[30:42, 50:70, 40:70].all()
    assert not lungs[50:60, 40:60, 2:12].any()


@pytest.mark.parametrize("shift", [0, 1])
def test_the_box_of_a_finer_scan_holds_all_of_its_lungs(shift):
    """Which are looked for in every other voxel."""
    fine = finer(chest())
    fine.data[:] = np.roll(fine.data, -shift, axis=(0, 1, 2))
    lungs = fine.data == -850
    assert lungs[box_of(fine, 0.0)].sum() == lungs.sum()
    assert lungs[box_of(fine, 0.0)].size <= 1.1 * np.prod(np.ptp(np.nonzero(lungs), axis=1) + 1)


def test_a_body_without_lungs_shows_none():
    volume = chest()
    volume.data[volume.data == -850] = 40
    assert find_lungs(volume).lungs is None


def test_prepare_nodule_outside_the_lung_box_is_refused(tmp_path):
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


def test_find_lungs_labels_the_body_of_a_scan_once(monkeypatch):
    calls = []
    body = lungs._body
    monkeypatch.setattr(lungs, "_body", lambda hu: calls.append(hu.shape) or body(hu))
    find_lungs(chest())
    assert len(calls) == 1


@pytest.fixture
def abdomen():
    volume = chest()
    volume.data[volume.data == -850] = 40
    return volume


def test_find_lungs_distinguishes_other_bodies_from_a_part_of_a_chest(abdomen):
    whole = chest()
    thirds = [Volume(whole.data[:, :, k : k + 25], whole.affine) for k in (20, 40, 55)]
    few_slices = Volume(whole.data[:, :, 40:42], whole.affine)
    close = Volume(whole.data[15:100, 35:85], whole.affine)  # 150 mm deep: too narrow for a box
    cube = Volume(abdomen.data[40:57, 40:57, 40:57], abdomen.affine)
    assert [find_lungs(v).lungs for v in (close, few_slices, cube)] == [None] * 3
    assert not any(find_lungs(v).lacking for v in (whole, *thirds, few_slices, close, cube))
    assert find_lungs(abdomen).lacking
    narrow = Volume(abdomen.data[:, 25:75], abdomen.affine)
    assert find_lungs(narrow).lacking


def test_find_lungs_with_gas_of_a_large_bowel_is_lacking(abdomen):
    tall = np.concatenate([abdomen.data] * 2, axis=2)
    mm3 = np.prod(abdomen.spacing_mm)
    gas = np.argwhere(tall == 40)
    x, y = gas[:, :2].mean(axis=0).round().astype(int)
    side = int(np.ceil(np.sqrt(7e5 / mm3 / tall.shape[2])))
    tall[x : x + side, y : y + side, 2:-2] = -900
    volume = Volume(tall, abdomen.affine)
    search = find_lungs(volume)
    assert search.lungs is not None
    assert search.lacking


def test_find_lungs_on_a_torso_with_lungs_at_its_end_is_not_lacking(abdomen):
    torso = Volume(np.concatenate([abdomen.data] * 6 + [chest().data], axis=2), abdomen.affine)
    assert not find_lungs(torso).lacking  # although of the whole body its lungs are little


@pytest.mark.parametrize("crop_to_lungs", [True, False])
def test_preparation_of_a_scan_without_lungs_warns_of_it_by_name(abdomen, tmp_path, crop_to_lungs):
    write_volume(tmp_path / "belly.nii.gz", abdomen.data, abdomen.affine)
    case = Case("a", "p", tmp_path / "belly.nii.gz", "unlabelled")
    config = DataConfig(
        cache=str(tmp_path / "c"), spacing_mm=(3.0, 3.0, 3.0), crop_to_lungs=crop_to_lungs
    )
    with pytest.warns(UserWarning, match=r"belly\.nii\.gz: no lungs were found"):
        prepare([case, replace(case, case="b")], config, progress=False, processes=2)


def test_find_lungs_on_real_scans_and_thirds_of_them_is_not_lacking(real_data):
    for path in sorted((real_data / "scans").glob("*_ct.nii.gz")):
        scan = to_ras(read_volume(path))
        cuts = np.linspace(0, scan.shape[2], 4).astype(int)
        thirds = [scan.data[:, :, a:b] for a, b in pairwise(cuts)]
        parts = [scan, *(Volume(third, scan.affine) for third in thirds)]
        assert [find_lungs(v).lacking for v in parts] == [False] * 4, path
        if np.multiply(scan.spacing_mm, scan.shape)[:2].min() > 120:
            filled = np.where(scan.data < -400, 40, scan.data)
            assert find_lungs(Volume(filled, scan.affine)).lacking, path


@pytest.mark.parametrize(
    ("box", "faces"),
    [
        ((slice(2, 38), slice(2, 38), slice(2, 38)), []),
        ((slice(0, 38), slice(2, 38), slice(2, 38)), ["left"]),
        ((slice(2, 40), slice(0, 38), slice(2, 38)), ["right", "back"]),
        ((slice(2, 38), slice(2, 40), slice(0, 40)), ["front", "bottom", "top"]),
        ((slice(2, 38), slice(2, 38), slice(0, 0)), []),
        ((slice(18, 23), slice(18, 23), slice(2, 40)), []),  # a trachea
    ],
)
def test_cut_faces_are_those_that_more_than_a_trachea_reaches(box, faces):
    lungs = np.zeros((40, 40, 40), bool)
    lungs[box] = True
    assert cut_faces(Volume(lungs, np.diag([3.0, 3.0, 3.0, 1.0]))) == faces
