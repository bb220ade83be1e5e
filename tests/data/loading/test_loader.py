from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from semilung.data.cache.open_cohort import open_cohort
from semilung.data.data_config import AugmentConfig
from semilung.data.io.volume import write_volume
from semilung.data.loading.loader import StepDataset, build_loader
from semilung.types import UserError

STREAMS = ("labelled", "unlabelled", "healthy", "weak")
AUGMENT = AugmentConfig(affine_probability=0.5)


@pytest.fixture(scope="module")
def streams(data_config):
    cohort = open_cohort(data_config, seed=0)
    return {stream: cohort.train(stream) for stream in STREAMS}


def flat(batch):
    return {
        (stream, key): value.numpy().tobytes() if isinstance(value, torch.Tensor) else tuple(value)
        for stream, part in batch.items()
        for key, value in part.items()
    }


def test_build_loader_batch_has_the_documented_layout(streams, data_config):
    fields = ("mask", "bag_label", "anatomy")
    batch = StepDataset(streams, data_config, AUGMENT, seed=0, fields=fields)[0]
    assert list(batch) == list(STREAMS)
    for stream, size in data_config.batch.items():
        for view in ("weak", "strong"):
            image = batch[stream][view]
            assert image.shape == (size, 1, 12, 12, 12)
            assert image.dtype == torch.float32
        assert len(batch[stream]["case"]) == size
        assert "anatomy" not in batch[stream]
    assert [stream for stream in batch if "mask" in batch[stream]] == ["labelled", "healthy"]
    assert batch["labelled"]["mask"].shape == (2, 1, 12, 12, 12)
    assert batch["labelled"]["mask"].dtype == torch.uint8
    assert batch["healthy"]["mask"].sum() == 0
    assert batch["labelled"]["bag_label"].tolist() == [1, 1]
    assert batch["healthy"]["bag_label"].tolist() == [0]
    assert batch["weak"]["bag_label"].tolist() == [1]
    assert "bag_label" not in batch["unlabelled"]


def test_build_loader_masks_hold_0_1_and_255(streams, data_config):
    dataset = StepDataset(streams, data_config, AUGMENT, seed=0, views=("weak",))
    values = {int(v) for t in range(30) for v in dataset[t]["labelled"]["mask"].unique()}
    assert values == {0, 1, 255}


def test_build_loader_yields_only_requested_views_and_fields(streams, data_config):
    views = dict.fromkeys(STREAMS, ("weak",)) | {"unlabelled": ("weak", "strong")}
    batch = StepDataset(streams, data_config, AUGMENT, seed=0, views=views, fields=())[0]
    assert [stream for stream in batch if "strong" in batch[stream]] == ["unlabelled"]
    assert set(batch["labelled"]) == {"weak", "case"}


def test_build_loader_more_fields_leave_the_others_unchanged(streams, data_config):
    little = StepDataset(streams, data_config, AUGMENT, seed=0, views=("weak",), fields=())[3]
    alone = {"labelled": streams["labelled"]}
    lonely = StepDataset(alone, data_config, AUGMENT, seed=0)[3]
    whole = flat(StepDataset(streams, data_config, AUGMENT, seed=0)[3])
    assert flat(little).items() <= whole.items()
    assert flat(lonely).items() <= whole.items()


def test_build_loader_mask_and_image_share_their_geometry(tmp_path, data_config, streams):
    # Nodules of 0 HU in air: after any transform, what is bright is what is labelled.
    (item, *_) = streams["labelled"]
    mask = (item.read("mask") % 255 > 0).astype(np.uint8)
    write_volume(tmp_path / "i.nii", np.where(mask, 0, -1000).astype(np.int16), item.affine)
    write_volume(tmp_path / "m.nii", mask, item.affine)
    table = "case,patient,image,role,mask,split\na,p,i.nii,labelled,m.nii,train\n"
    (tmp_path / "t.csv").write_text(table)
    config = replace(data_config, manifest=str(tmp_path / "t.csv"), cache=str(tmp_path / "c"))
    cases = {"labelled": open_cohort(config, seed=0).train("labelled")}
    quiet = AugmentConfig(weak_shift_hu=0, weak_noise_hu=0, weak_contrast=0, affine_probability=0)
    dataset = StepDataset(cases, config, quiet, seed=0)
    for step in range(8):
        part = dataset[step]["labelled"]
        assert torch.equal(part["weak"] > 0.5, part["mask"] == 1)


def one_ball(folder, data_config, *, radius):
    """A labelled case: a ball of 0 HU in much air, 1 mm voxels, as a cohort's stream."""
    ball = np.sum((np.indices((120, 120, 120)) - 60) ** 2, axis=0) <= radius**2
    write_volume(folder / "i.nii", np.where(ball, 0, -1000).astype(np.int16), np.eye(4))
    write_volume(folder / "m.nii", ball.astype(np.uint8), np.eye(4))
    table = "case,patient,image,role,mask,split\na,p,i.nii,labelled,m.nii,train\n"
    (folder / "t.csv").write_text(table)
    config = replace(
        data_config,
        manifest=str(folder / "t.csv"),
        cache=str(folder / "c"),
        spacing_mm=None,
        crop=(24, 24, 24),
        foreground=1.0,
    )
    return config, {"labelled": open_cohort(config, seed=0).train("labelled")}


def test_step_dataset_healthy_crops_hold_hard_negatives(tmp_path, data_config):
    config, streams = one_ball(tmp_path, data_config, radius=2)  # bright where it is
    streams = {"healthy": streams["labelled"]}
    quiet = AugmentConfig(weak_shift_hu=0, weak_noise_hu=0, weak_contrast=0, affine_probability=0)
    hard = {"a": [[60, 60, 60]], "another": [[0, 0, 0]]}

    def share(probability, voxels):
        sampling = replace(config, hard_negatives=probability)
        steps = StepDataset(streams, sampling, quiet, seed=0, hard_negatives=voxels)
        return np.mean(
            [bool((x > 0.5).any()) for t in range(40) for x in steps[t]["healthy"]["weak"]]
        )

    assert share(1.0, hard) == 1.0
    assert share(0.5, hard) == pytest.approx(0.5, abs=0.2)
    assert share(1.0, {}) == share(0.0, hard) < 0.2
    assert share(1.0, {"another": hard["a"]}) == share(0.0, {})


@pytest.mark.parametrize("size_mm", [6.0, 16.0])
def test_build_loader_nodule_has_the_requested_diameter(tmp_path, data_config, size_mm):
    config, streams = one_ball(tmp_path, data_config, radius=5)
    asked = AugmentConfig(affine_probability=1.0, scale=(0.25, 4.0), nodule_mm=(size_mm, size_mm))
    dataset = StepDataset(streams, replace(config, crop=(36, 36, 36)), asked, seed=0, views=())
    masks = [mask == 1 for step in range(20) for mask in dataset[step]["labelled"]["mask"]]
    whole_mm3 = max(int(mask.sum()) for mask in masks)  # most crops cut it
    assert (6 * whole_mm3 / np.pi) ** (1 / 3) == pytest.approx(size_mm, rel=0.1)


def test_build_loader_zoomed_nodule_stays_in_its_crop(tmp_path, data_config):
    config, streams = one_ball(tmp_path, data_config, radius=2)
    zoomed = AugmentConfig(affine_probability=1.0, rotation_degrees=0.0, scale=(3.0, 3.0))
    dataset = StepDataset(streams, config, zoomed, seed=0, views=())
    held = [bool((mask == 1).any()) for t in range(30) for mask in dataset[t]["labelled"]["mask"]]
    assert np.mean(held) > 0.9  # of windows aimed as if nothing were zoomed, two thirds lose it


def test_build_loader_strong_contrast_has_an_effect(streams, data_config):
    still = AugmentConfig(
        strong_shift_hu=0, strong_noise_hu=0, strong_gamma=(1.0, 1.0), strong_contrast=0.0,
        strong_probability=1.0, strong_blur_voxels=(1e-3, 1e-3), cutout_holes=0,
    )  # fmt: skip
    plain, scaled = (
        StepDataset(streams, data_config, augment, seed=0)[0]["labelled"]["strong"]
        for augment in (still, replace(still, strong_contrast=0.5))
    )
    assert not torch.allclose(plain, scaled, atol=1e-2)


def test_build_loader_foreground_share_is_as_configured(streams, data_config):
    small = replace(data_config, crop=(4, 4, 4), overhang=0.0)
    for share, low, high in ((1.0, 100, 100), (0.0, 0, 30)):
        dataset = StepDataset(
            {"labelled": streams["labelled"]},
            replace(small, foreground=share),
            AugmentConfig(affine_probability=0.0),
            seed=0,
            views=(),
        )
        hits = sum(
            int((dataset[t]["labelled"]["mask"] == 1).flatten(1).any(1).sum()) for t in range(50)
        )
        assert low <= hits <= high


def test_build_loader_batches_depend_neither_on_workers_nor_on_resumption(streams, data_config):
    def batches(workers, start):
        config = replace(data_config, workers=workers)
        loader = build_loader(streams, config, AUGMENT, seed=7, start_step=start, max_steps=5)
        return [flat(batch) for batch in loader]

    whole = batches(0, 0)
    assert len({str(sorted(b)) + str(b["labelled", "weak"]) for b in whole}) == 5
    assert batches(1, 0) == whole
    assert batches(2, 0) == whole
    assert batches(1, 3) == whole[3:]
    assert batches(0, 5) == []


def test_build_loader_two_ranks_draw_the_samples_of_one_process(streams, data_config):
    double = replace(data_config, batch={k: 2 * v for k, v in data_config.batch.items()})
    one = StepDataset(streams, double, AUGMENT, seed=0)[2]
    ranks = [
        StepDataset(streams, data_config, AUGMENT, seed=0, rank=r, world_size=2)[2] for r in (0, 1)
    ]
    for stream in STREAMS:
        both = torch.cat([part[stream]["strong"] for part in ranks])
        assert torch.equal(both, one[stream]["strong"])
    assert not torch.equal(ranks[0]["labelled"]["weak"], ranks[1]["labelled"]["weak"])


def test_build_loader_leaves_global_generators_alone(streams, data_config):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (it is this legacy state that must not move)
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    list(build_loader(streams, data_config, AUGMENT, seed=0, start_step=0, max_steps=2))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tobytes()  # noqa: NPY002


def test_build_loader_cases_without_anatomy_are_255(tmp_path, data_config, cohort_folder):
    for name in ("c0", "c1"):
        (tmp_path / f"{name}.nii.gz").write_bytes((cohort_folder / f"{name}.nii.gz").read_bytes())
    write_volume(tmp_path / "a.nii", np.full((20, 22, 24), 2, np.uint8), np.diag([-1, -1, 1, 1]))
    (tmp_path / "t.csv").write_text(
        "case,patient,image,role,anatomy,split\n"
        "a,p,c0.nii.gz,unlabelled,a.nii,train\nb,q,c1.nii.gz,unlabelled,,train\n"
    )
    config = replace(
        data_config, manifest=str(tmp_path / "t.csv"), cache=str(tmp_path / "c"), overhang=0.0
    )
    cases = {"unlabelled": open_cohort(config, seed=0).train("unlabelled")}
    batch = StepDataset(cases, config, AUGMENT, seed=0, fields=("anatomy",))[0]["unlabelled"]
    found = dict(zip(batch["case"], batch["anatomy"], strict=True))
    assert found["a"].max() == 2
    assert (found["b"] == 255).all()


def test_build_loader_stream_without_cases_or_batch_size_is_refused(streams, data_config):
    with pytest.raises(UserError, match="healthy stream has no training cases"):
        StepDataset({"healthy": []}, data_config, AUGMENT, seed=0)
    none = replace(data_config, batch={"labelled": 0})
    with pytest.raises(UserError, match=r"data\.batch\.labelled is 0"):
        StepDataset({"labelled": streams["labelled"]}, none, AUGMENT, seed=0)
