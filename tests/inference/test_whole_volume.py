"""Whole-volume prediction: parts, their halos, and the memory that decides their number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semilung.data import DataConfig
from semilung.inference import InferenceConfig, Predictor, foreground_probability
from semilung.inference.whole_volume import HALO, parts_of, predict_whole
from semilung.models import Footprint, build_model
from semilung.types import UserError

HU = DataConfig(window_hu=(-1000, 400))
OUTPUTS = {"logits": foreground_probability}


def net(seed=0, name="reversible_unet", **options):
    """A random network whose logits vary: the untrained head is nearly constant."""
    torch.manual_seed(seed)
    options = options or {"widths": (4, 8), "depth": 1}
    model = build_model(name, {"prior": 0.5, **options}).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3)
    return model


def volume(*shape):
    return np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16)


def one_pass(model, hu):
    image = torch.from_numpy(((hu + 1000.0) / 1400).astype(np.float32))[None, None]
    with torch.no_grad():
        return foreground_probability(model(image)["logits"])[0]


def whole(models, hu, *, parts, **options):
    """Predict with as much memory as that number of parts needs, and check that it is theirs."""
    seen = []
    footprint = Footprint(halo=40, multiple=4, bytes_per_voxel=2**20)
    memory_gib = next(
        gib for gib in np.arange(60.0, 0.0, -2) if len(parts_of(hu.shape, footprint, gib)) >= parts
    )
    maps = predict_whole(
        models, hu, outputs=OUTPUTS, footprint=footprint, memory_gib=memory_gib,
        window_hu=HU.window_hu, progress=lambda *numbers: seen.append(numbers), **options,
    )  # fmt: skip
    assert seen == [(k, len(seen)) for k in range(1, len(seen) + 1)]
    assert len(seen) >= parts
    return maps["logits"]


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_predict_whole_in_parts_equals_one_pass(parts, stride):
    model = net(widths=(4, 8), depth=1, stride=stride)
    assert model.footprint.halo <= 40
    hu = volume(9, 11, 187)
    expected = one_pass(model, hu)
    assert expected.std() > 0.01
    result = whole([model], hu, parts=parts)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_predict_whole_of_several_networks_is_their_mean():
    models = [net(seed) for seed in (0, 1)]
    hu = volume(8, 9, 150)
    mean = torch.stack([one_pass(model, hu) for model in models]).mean(0)
    torch.testing.assert_close(whole(models, hu, parts=2), mean, atol=1e-6, rtol=0)


def test_predict_whole_at_a_distance_from_the_lungs_is_zero():
    model, hu = net(), volume(40, 8, 8)
    lungs = np.zeros((5, 1, 1), bool)
    lungs[0] = True
    result = whole([model], hu, parts=1, lungs=lungs)
    expected = one_pass(model, hu)
    assert torch.equal(result[:, :24], expected[:, :24])
    assert not result[:, 24:].any()
    assert expected[:, 24:].any()
    assert torch.equal(whole([model], hu, parts=1, lungs=np.zeros_like(lungs)), expected)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, 300)] * 3),
    halo=st.integers(0, 100),
    multiple=st.sampled_from([1, 2, 8, 16]),
    memory_gib=st.floats(0.05, 40),
)
def test_parts_of_any_volume_cover_it_once_with_their_halo(shape, halo, multiple, memory_gib):
    footprint = Footprint(halo=halo, multiple=multiple, bytes_per_voxel=4096.0)
    try:
        parts = parts_of(shape, footprint, memory_gib)
    except UserError:
        return
    count = np.zeros(shape, np.uint8)
    for part in parts:
        count[part.core] += 1
        assert np.prod([c.stop - c.start for c in part.cut]) * 4096 <= memory_gib * 2**30
        for size, cut, core, inner in zip(shape, *part, strict=True):
            assert cut.start % multiple == 0
            assert cut.start + inner.start == core.start
            assert inner.stop - inner.start == core.stop - core.start
            assert cut.start == 0 or core.start - cut.start >= min(halo, HALO)
            assert cut.stop == size or cut.stop - core.stop >= min(halo, HALO)
    assert (count == 1).all()


def test_parts_of_a_volume_that_fits_are_one():
    footprint = Footprint(halo=100, multiple=8, bytes_per_voxel=100)
    assert len(parts_of((100, 100, 100), footprint, 0.1)) == 1
    assert len(parts_of((60, 60, 400), footprint, 0.1)) == 2


def test_parts_of_too_little_memory_states_what_is_needed():
    footprint = Footprint(halo=8, multiple=8, bytes_per_voxel=2**20)
    with pytest.raises(UserError, match=r"inference.memory_gib=0.01 .* needs 14 GiB"):
        parts_of((64, 64, 64), footprint, 0.01)
    assert parts_of((64, 64, 64), footprint, 15.0)


@pytest.mark.parametrize("name", ["reversible_unet", "segresnet"])
def test_predictor_without_a_window_uses_windows_only_for_models_that_normalise(name):
    options = {"widths": (4, 8), "depth": 1} if name == "reversible_unet" else {"init_filters": 8}
    model, numbers = net(name=name, **options), []
    hu = volume(70, 8, 8)
    predictor = Predictor([model], InferenceConfig(), HU)
    result = predictor.maps(hu, progress=lambda done, total: numbers.append(total))["logits"]
    if name == "reversible_unet":
        assert numbers == [1]
        torch.testing.assert_close(result, one_pass(model, hu))
    else:
        assert numbers[-1] > 1  # windows of 64
    windows = Predictor([model], InferenceConfig(window=(32, 8, 8)), HU)
    assert not torch.allclose(windows.maps(hu)["logits"], result, atol=1e-4)
