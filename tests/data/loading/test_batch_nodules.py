"""Nodules of a batch: points move with the voxels, ignored findings are marked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from small_cohort import write_table

from semilung.data.cache.prepare import prepare
from semilung.data.data_config import AugmentConfig, DataConfig
from semilung.data.io.volume import write_volume
from semilung.data.loading.loader import StepDataset
from semilung.data.manifest.cases import read_manifest
from semilung.data.manifest.nodules import Nodule
from semilung.types import UserError

SPACING_MM = 2.0
CENTRES = {"1": (20.0, 22.0, 18.0), "2": (34.0, 30.0, 36.0)}
AFFINE = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])  # LPS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scan with two balls of 10 and 14 mm, a healthy one, and an ignored finding."""
    folder = tmp_path_factory.mktemp("nodules")
    indices = np.moveaxis(np.indices((24, 24, 24)), 0, -1) * SPACING_MM
    mask = np.zeros((24, 24, 24), np.uint8)
    for label, (centre, radius) in enumerate(zip(CENTRES.values(), (5, 7), strict=True), start=1):
        mask[np.linalg.norm(indices - centre, axis=-1) <= radius] = label
    hu = np.random.default_rng(0).normal(-850, 40, mask.shape).round().astype(np.int16)
    for name in ("a", "b", "h"):
        write_volume(
            folder / f"{name}.nii.gz",
            np.where(mask > 0, 20, hu) * (name != "h") + hu * (name == "h"),
            AFFINE,
        )
    write_volume(folder / "a_mask.nii.gz", mask, AFFINE)
    rows = [
        {
            "case": "a",
            "patient": "a",
            "image": "a.nii.gz",
            "role": "labelled",
            "mask": "a_mask.nii.gz",
        },
        {"case": "b", "patient": "b", "image": "b.nii.gz", "role": "labelled"},
        {"case": "h", "patient": "h", "image": "h.nii.gz", "role": "healthy"},
    ]
    write_table(folder / "manifest.csv", rows)
    lines = ["case,nodule,x_mm,y_mm,z_mm,diameter_mm,ignored"]
    lines += [
        f"b,{n},{-x},{-y},{z},{d},0"
        for (n, (x, y, z)), d in zip(CENTRES.items(), (10, 14), strict=True)
    ]
    lines += ["b,3,-8,-8,8,,1"]
    (folder / "nodules.csv").write_text("\n".join(lines) + "\n")
    return folder


def prepared(folder: Path, **settings):
    config = DataConfig(
        manifest=str(folder / "manifest.csv"),
        cache=str(folder / "cache"),
        spacing_mm=None,
        crop=(24, 24, 24),
        batch={"labelled": 2, "healthy": 1},
        workers=0,
        **settings,
    )
    cases = {
        item.name: item for item in prepare(read_manifest(config.manifest), config, progress=False)
    }
    return cases, config


def test_prepared_nodules_of_a_mask_are_those_of_the_table(folder):
    cases, _ = prepared(folder)
    from_mask, from_table = cases["a"].nodules, [n for n in cases["b"].nodules if not n.ignored]
    for marked, listed in zip(from_mask, from_table, strict=True):
        np.testing.assert_allclose(marked.voxel, listed.voxel, atol=0.3)
        assert marked.diameter_mm == pytest.approx(listed.diameter_mm, rel=0.1)
    assert cases["h"].nodules == []
    assert [n.name for n in cases["b"].nodules if n.ignored] == ["3"]


def test_prepared_nodules_follow_the_grid_that_a_scan_is_resampled_to(folder):
    cases, config = prepared(folder)
    config.spacing_mm = (1.0, 1.0, 1.0)
    fine = prepare([cases["b"].case], config, progress=False)[0]
    for coarse, nodule in zip(cases["b"].nodules, fine.nodules, strict=True):
        world = [item.affine @ [*n.voxel, 1] for item, n in ((cases["b"], coarse), (fine, nodule))]
        np.testing.assert_allclose(*world, atol=1e-6)


def test_sampling_of_a_case_without_mask_is_around_its_certain_nodules(folder):
    cases, _ = prepared(folder)
    assert cases["b"].foreground.tolist() == [[13, 12, 9], [6, 8, 18]]
    assert cases["b"].diameters_mm.tolist() == [10, 14]


@pytest.mark.parametrize("affine_probability", [0.0, 1.0])
def test_batch_nodules_lie_where_the_instances_are(folder, affine_probability):
    cases, config = prepared(folder, foreground=1.0)
    augment = AugmentConfig(affine_probability=affine_probability, scale=(0.8, 1.25))
    fields = ("mask", "instances", "nodules")
    steps = StepDataset({"labelled": [cases["a"]]}, config, augment, seed=0, fields=fields)
    whole = 0
    for step in range(30):
        batch = steps[step]["labelled"]
        assert torch.equal(batch["mask"], (batch["instances"] > 0).to(torch.uint8))
        for instances, nodules in zip(batch["instances"], batch["nodules"], strict=True):
            for x, y, z, diameter_mm, certain in nodules[~nodules.isnan().any(1)].tolist():
                reach = diameter_mm / 2 / SPACING_MM + 1
                if not all(reach < value < 23 - reach for value in (x, y, z)):
                    continue  # the crop cuts it
                label = instances[0, round(x), round(y), round(z)]
                voxels = (instances[0] == label).nonzero().float()
                near = (voxels - torch.tensor([x, y, z])).norm(dim=1) < reach  # mirrored ones too
                voxels = voxels[near]
                assert label > 0
                assert certain == 1
                np.testing.assert_allclose(voxels.mean(0), (x, y, z), atol=0.6)
                volume_mm3 = len(voxels) * SPACING_MM**3
                assert np.cbrt(6 / np.pi * volume_mm3) == pytest.approx(diameter_mm, rel=0.15)
                whole += 1
    assert whole > 10


def test_batch_nodules_are_one_for_each_instance_mirrored_ones_included(folder):
    """Of crops that reach beyond the volume: every blob has its row, and every row its blob."""
    cases, config = prepared(folder, foreground=1.0, overhang=0.5)
    augment = AugmentConfig(affine_probability=0.0)
    fields = ("instances", "nodules")
    steps = StepDataset({"labelled": [cases["a"]]}, config, augment, seed=1, fields=fields)
    mirrored = 0
    for step in range(20):
        batch = steps[step]["labelled"]
        for instances, nodules in zip(batch["instances"], batch["nodules"], strict=True):
            rows = nodules[~nodules.isnan().any(1)]
            blobs, count = ndimage.label(instances[0].numpy() > 0)
            whole = [  # not cut by the crop, and not merged with its own reflection
                centre
                for centre, box in zip(
                    ndimage.center_of_mass(blobs > 0, blobs, range(1, count + 1)),
                    ndimage.find_objects(blobs),
                    strict=True,
                )
                if all(cut.start > 0 and cut.stop < 24 and cut.stop - cut.start < 8 for cut in box)
            ]
            near = [(rows[:, :3] - torch.tensor(c)).norm(dim=1) < 1.0 for c in whole]
            assert all(match.sum() == 1 for match in near)
            mirrored += len(rows) > 2
            inside = ((rows[:, :3] > 4) & (rows[:, :3] < 19)).all(1)
            for centre in rows[inside, :3].round().long().tolist():
                assert instances[(0, *centre)] > 0
    assert mirrored > 0


def test_batch_nodules_mark_ignored_findings(folder):
    cases, config = prepared(folder, foreground=0.0, overhang=0.0)
    config.crop = (24, 24, 24)
    augment = AugmentConfig(affine_probability=0.0, flips=False, quarter_turns=False)
    steps = StepDataset({"labelled": [cases["b"]]}, config, augment, seed=0, fields=("nodules",))
    rows = steps[0]["labelled"]["nodules"][0]
    expected = [[13, 12, 9, 10, 1], [6, 8, 18, 14, 1], [19, 19, 4, torch.nan, 0]]
    torch.testing.assert_close(rows, torch.tensor(expected), equal_nan=True)


def test_prepare_with_a_nodule_outside_the_volume_is_refused(folder):
    cases, config = prepared(folder)
    far = replace(cases["b"].case, nodules=(Nodule("9", (-500.0, 0.0, 0.0), 8.0),))
    with pytest.raises(UserError, match="centres of nodules 9 are outside the prepared volume"):
        prepare([far], config, progress=False)
    ignored = replace(far, nodules=(Nodule("9", (-500.0, 0.0, 0.0), 8.0, ignored=True),))
    assert prepare([ignored], config, progress=False)[0].foreground.shape == (0, 3)


def test_batch_of_a_case_without_mask_is_unknown_in_every_voxel(folder):
    cases, config = prepared(folder)
    streams = {"labelled": [cases["b"]], "healthy": [cases["h"]]}
    steps = StepDataset(streams, config, AugmentConfig(), seed=0, fields=("mask", "nodules"))
    batch = steps[0]
    assert (batch["labelled"]["mask"] == 255).all()
    assert (batch["healthy"]["mask"] == 0).all()
    assert batch["healthy"]["nodules"].shape == (1, 0, 5)
    rows = batch["labelled"]["nodules"].reshape(-1, 5)
    assert set(rows[~rows[:, 0].isnan()][:, 4].tolist()) <= {0.0, 1.0}
