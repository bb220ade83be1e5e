from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semilung.data.cache.prepare import prepare
from semilung.data.data_config import DataConfig
from semilung.data.io.volume import Volume, read_volume, write_volume
from semilung.data.loading.intensity import scale_hu
from semilung.data.manifest.cases import Case
from semilung.inference import (
    InferenceConfig,
    Predictor,
    class_probabilities,
    connected_components,
    foreground_probability,
)
from semilung.models import build_model
from semilung.types import UserError

CENTRE_MM, RADIUS_MM = np.array([12.0, -21.0, 33.0]), 9.0
CONFIG = DataConfig(spacing_mm=(1.0, 1.0, 1.0), crop_to_lungs=False)
WINDOW = InferenceConfig(window=(32, 32, 32))


class Bright(nn.Module):
    """A nodule is what is brighter than half the window (-300 HU)."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": 50 * (x - 0.5)}


def rotated(degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])


DIRECTIONS = {
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "permuted": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    "oblique": rotated(10) @ np.diag([-1.0, -1.0, 1.0]),
}


def ball_scan(direction: np.ndarray, spacing_mm: tuple[float, float, float]) -> Volume:
    """A ball of 400 HU in air, its centre at `CENTRE_MM` and not at the middle of the scan."""
    shape = tuple(round(56 / s) for s in spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = direction @ np.diag(spacing_mm)
    middle = (np.array(shape) - 1) / 2
    affine[:3, 3] = CENTRE_MM + np.array([4, -3, 5]) - affine[:3, :3] @ middle
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance_mm = np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3] - CENTRE_MM, axis=-1)
    # Partial volume at the rim, as in a CT: -300 HU lies at the radius.
    share = np.clip(RADIUS_MM - distance_mm + 0.5, 0, 1)
    return Volume(np.rint(-1000 + 1400 * share).astype(np.int16), affine)


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (0.7, 0.7, 2.5), (0.8, 0.8, 5.0)])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_scan_segments_a_ball_at_its_position(name, spacing_mm, tmp_path: Path):
    scan = ball_scan(DIRECTIONS[name], spacing_mm)
    write_volume(tmp_path / "scan.nii.gz", scan.data, scan.affine)
    mask, probability = Predictor([Bright()], WINDOW, CONFIG).scan(tmp_path / "scan.nii.gz")
    for volume in (mask, probability):
        assert volume.shape == scan.shape
        np.testing.assert_array_equal(volume.affine, read_volume(tmp_path / "scan.nii.gz").affine)
    assert mask.data.dtype == np.uint8
    assert connected_components(mask.data)[1] == 1
    points_mm = np.argwhere(mask.data) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    np.testing.assert_allclose(points_mm.mean(axis=0), CENTRE_MM, atol=0.2 + 0.1 * spacing_mm[2])
    volume_mm3 = len(points_mm) * np.prod(spacing_mm)
    direct_mm3 = (scan.data > -300).sum() * np.prod(spacing_mm)
    assert volume_mm3 == pytest.approx(direct_mm3, rel=0.06)
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3, rel=0.12)


def test_on_its_own_grid_the_answer_is_exact(tmp_path: Path):
    scan = ball_scan(DIRECTIONS["LPS"], (0.8, 0.8, 2.0))
    write_volume(tmp_path / "scan.nii", scan.data, scan.affine)
    config = replace(CONFIG, spacing_mm=None)
    mask, probability = Predictor([Bright()], WINDOW, config).scan(tmp_path / "scan.nii")
    np.testing.assert_array_equal(mask.data, scan.data > -300)
    scaled = (np.clip(scan.data, -1000, 400) + 1000) / 1400
    expected = torch.sigmoid(50 * (torch.from_numpy(scaled) - 0.5))
    np.testing.assert_allclose(probability.data, expected, atol=1e-4)


def test_the_probability_is_interpolated_between_coarse_voxels(tmp_path: Path):
    ramp = np.broadcast_to(np.linspace(-400, -200, 32)[:, None, None], (32, 8, 8))
    write_volume(tmp_path / "scan.nii", ramp.astype(np.float32), np.eye(4))
    config = replace(CONFIG, spacing_mm=(4.0, 4.0, 4.0))
    _, probability = Predictor([Bright()], InferenceConfig(window=(8, 2, 2)), config).scan(
        tmp_path / "scan.nii"
    )
    assert (np.diff(probability.data[2:-2], axis=0) > 0).all()  # the nearest voxel gives steps


def test_small_findings_are_dropped_by_their_volume_on_the_scan(tmp_path: Path):
    scan = ball_scan(DIRECTIONS["LPS"], (0.8, 0.8, 2.0))
    write_volume(tmp_path / "scan.nii", scan.data, scan.affine)
    large, _ = Predictor([Bright()], replace(WINDOW, min_volume_mm3=2500), CONFIG).scan(
        tmp_path / "scan.nii"
    )
    none, _ = Predictor([Bright()], replace(WINDOW, min_volume_mm3=4000), CONFIG).scan(
        tmp_path / "scan.nii"
    )
    assert large.data.any()  # the ball has 3054 mm3
    assert not none.data.any()


@pytest.mark.filterwarnings("ignore:.*sheared")
@pytest.mark.parametrize(("least", "some"), [(0.97, True), (1.03, False)])
def test_scan_sheared_finding_lies_and_measures_as_it_is(tmp_path: Path, least, some):
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[1, 2] = 3 * np.tan(np.radians(30))
    hu = np.full((24, 24, 24), -1000, np.int16)
    hu[8:16, 7:17, 8:16] = 100
    write_volume(tmp_path / "scan.nii", hu, affine)
    truth = hu > -300
    probability = Predictor([Bright()], WINDOW, CONFIG).scan(tmp_path / "scan.nii")[1]
    predicted = probability.data > WINDOW.threshold
    assert (predicted & truth).sum() * 2 / (predicted.sum() + truth.sum()) > 0.85
    volume_mm3 = predicted.sum() * abs(np.linalg.det(affine))  # 13 % less than edges multiply to
    config = replace(WINDOW, min_volume_mm3=least * volume_mm3)
    mask = Predictor([Bright()], config, CONFIG).scan(tmp_path / "scan.nii")[0]
    np.testing.assert_array_equal(mask.affine, affine.astype(np.float32))
    assert mask.data.any() == some


def test_a_missing_scan_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="missing"):
        Predictor([Bright()], WINDOW, CONFIG).scan(tmp_path / "missing.nii.gz")


def test_a_real_scan_keeps_its_grid(real_data: Path):
    folder = real_data / "nodule_cubes"
    scan = read_volume(folder / "cube_000_ct.nii.gz")
    mask, _ = Predictor([Bright()], WINDOW, CONFIG).scan(folder / "cube_000_ct.nii.gz")
    np.testing.assert_array_equal(mask.affine, scan.affine)
    np.testing.assert_array_equal(mask.data, scan.data > -300)  # 1 mm already: only mirrored


class Recorder(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.image = x[0, 0]
        return {"logits": torch.zeros_like(x)}


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), None])
def test_the_network_sees_what_it_was_trained_on(spacing_mm, tmp_path: Path):
    scan = ball_scan(DIRECTIONS["permuted"], (0.8, 0.9, 2.5))
    noisy = scan.data + np.random.default_rng(0).integers(-300, 3000, scan.shape)
    write_volume(tmp_path / "scan.nii.gz", noisy.astype(np.int16), scan.affine)
    config = DataConfig(cache=str(tmp_path / "cache"), spacing_mm=spacing_mm)
    case = Case(case="a", patient="a", image=tmp_path / "scan.nii.gz", role="unlabelled")
    (prepared,) = prepare([case], config, progress=False, processes=0)
    recorder = Recorder()
    Predictor([recorder], InferenceConfig(window=prepared.shape), config).scan(case.image)
    expected = scale_hu(prepared.read("image"), config.window_hu)
    np.testing.assert_array_equal(recorder.image, expected)


class Sure(nn.Module):
    """Nodule everywhere; counts the windows that it is shown."""

    windows = 0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.windows += len(x)
        return {"logits": torch.full_like(x, 5.0)}


def test_scan_skips_windows_outside_the_lungs(tmp_path: Path):
    hu = np.full((120, 120, 60), -1000, np.int16)
    hu[10:110, 20:100] = 40
    hu[15:35, 40:80, 10:50] = hu[85:105, 40:80, 10:50] = -850
    write_volume(tmp_path / "scan.nii.gz", hu, np.diag([3.0, 3.0, 3.0, 1.0]))
    config = DataConfig(spacing_mm=None, crop_to_lungs=True, lung_margin_mm=6.0)
    net = Sure()
    window = InferenceConfig(window=(16, 16, 16), overlap=0.0)
    mask, _ = Predictor([net], window, config).scan(tmp_path / "scan.nii.gz")
    lungs = np.zeros(hu.shape, bool)
    lungs[hu == -850] = True
    assert mask.data[lungs].all()
    assert not mask.data[:10].any()
    assert not mask.data[:, :, 54:].any()
    assert net.windows == 4 * 3 * 3  # of the box's 6 x 3 x 3 the middle ones see no lung


def test_voxels_that_are_not_finite_are_named(tmp_path: Path):
    data = np.zeros((4, 4, 4), np.float32)
    data[1, 2, 3] = np.nan
    write_volume(tmp_path / "scan.nii", data, np.eye(4))
    with pytest.raises(UserError, match=r"scan\.nii"):
        Predictor([Bright()], WINDOW, CONFIG).scan(tmp_path / "scan.nii")


class TwoHeads(nn.Module):
    """A segmentation head, and anatomy logits of three classes."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": 50 * (x - 0.5), "anatomy": torch.cat([x, 2 * x, -x], dim=1)}


def test_maps_of_two_heads_have_the_activation_of_each():
    hu = np.random.default_rng(0).integers(-1000, 400, (9, 8, 7)).astype(np.int16)
    predictor = Predictor(
        [TwoHeads()],
        InferenceConfig(window=(4, 4, 4)),
        CONFIG,
        heads={"logits": foreground_probability, "anatomy": class_probabilities},
    )
    maps = predictor.maps(hu)
    x = torch.from_numpy(scale_hu(hu, CONFIG.window_hu))
    torch.testing.assert_close(maps["logits"], torch.sigmoid(50 * (x - 0.5))[None])
    torch.testing.assert_close(maps["anatomy"], torch.stack([x, 2 * x, -x]).softmax(0))


def test_maps_of_a_head_that_the_net_lacks_is_refused():
    predictor = Predictor([TwoHeads()], WINDOW, CONFIG, heads={"offsets": class_probabilities})
    with pytest.raises(UserError, match="no head 'offsets', it has logits, anatomy"):
        predictor.maps(np.zeros((4, 4, 4), np.int16))


@pytest.mark.parametrize(
    ("net", "settings", "message"),
    [
        ("reversible_unet", {"window": (8, 8, 8), "memory_gib": 2.0}, "memory_gib=2 has no effect"),
        (
            "reversible_unet",
            {"overlap": 0.25},
            "overlap=0.25 has no effect, as inference.window is",
        ),
        ("reversible_unet", {"batch_size": 1}, "batch_size=1 has no effect"),
        ("segresnet", {"memory_gib": 2.0}, "memory_gib=2 has no effect, as this network can only"),
        ("reversible_unet", {"memory_gib": 2.0}, None),
        ("reversible_unet", {"window": (8, 8, 8), "overlap": 0.25, "batch_size": 1}, None),
        ("segresnet", {"overlap": 0.25}, None),
        ("reversible_unet", {"gate": 0.5}, "gate=0.5 has no effect, as the tasks are not both"),
        ("reversible_unet", {}, None),
    ],
)
def test_predictor_warns_of_settings_that_have_no_effect(net, settings, message):
    model = build_model(net, {"widths": (4, 8), "depth": 1} if net == "reversible_unet" else {})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        Predictor([model], InferenceConfig(**settings), CONFIG)
    texts = [str(w.message) for w in caught if "no effect" in str(w.message)]
    assert len(texts) == (message is not None)
    assert all(message in text for text in texts)
