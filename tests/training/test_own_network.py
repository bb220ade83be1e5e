"""A network of somebody's own: by its name alone, on cubes that its strides do not divide."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.bundle import run as run_bundle
from tiny_settings import TINY
from torch import nn

import semilung
from semilung.api.export import export
from semilung.cli import main
from semilung.config.compose import model_words
from semilung.data.io.volume import read_volume, write_volume
from semilung.inference import predict_probability
from semilung.models import models
from semilung.runs.exported_config import CONFIG
from semilung.runs.load import _require_filled
from semilung.training import train
from semilung.types import UserError

PACKAGE = Path(__file__).parents[1] / "third_party/yourlab"
OWN = [word for word in TINY if not word.startswith("model.")]


@pytest.fixture(scope="module", autouse=True)
def yournet():
    spec = importlib.util.spec_from_file_location("net", PACKAGE / "net.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield models["yournet"]
    del models._factories["yournet"]


def command(*words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


@pytest.fixture(scope="module")
def run(phantom, tmp_path_factory):
    """Trained, validated and evaluated with windows of 19 voxels, which 4 does not divide."""
    folder = tmp_path_factory.mktemp("own")
    words = [f"data.manifest={phantom}", *OWN, f"runs_dir={folder}", "run_name=run"]
    sizes = ["inference.window=[19,19,19]", "model.name=yournet", "model.width=2"]
    assert command("train", *words, *sizes, "trainer.max_steps=2") == 0
    return folder / "run"


def test_own_network_takes_its_factorys_defaults_but_for_what_is_named(run):
    assert yaml.safe_load((run / "config.yaml").read_text())["model"] == {
        "name": "yournet",
        "width": 2,
    }


def test_own_network_predicts_and_is_evaluated_in_windows_it_does_not_divide(
    run, phantom, tmp_path, capfd
):
    rows = pd.read_csv(run / "metrics.csv").set_index("name")["value"]
    assert rows["val/dice"] >= 0
    assert command("evaluate", run, "--split", "val") == 0
    scan = read_volume(phantom.parent / pd.read_csv(phantom)["image"][0])
    cube = tmp_path / "cube.nii.gz"
    write_volume(cube, scan.data[:31, :29, :27].astype(np.int16), scan.affine)
    assert command("predict", cube, "--run", run, "--out", tmp_path, "--probability") == 0
    found = read_volume(tmp_path / "cube_probability.nii.gz").data
    assert found.shape == (31, 29, 27)
    assert found.min() > 0


def test_padded_windows_give_what_the_network_gives_on_the_mirrored_volume(yournet):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = yournet()

        def forward(self, x):
            return {"logits": self.net(x)}

    net, image = Named().eval(), torch.rand(11, 13, 16)
    found = predict_probability(net, image, window=(11, 13, 16))
    mirrored = np.pad(image.numpy(), [(0, 1), (0, 3), (0, 0)], mode="symmetric")
    with torch.no_grad():
        wanted = net(torch.from_numpy(mirrored)[None, None])["logits"].sigmoid()[0, 0, :11, :13]
    torch.testing.assert_close(found, wanted)


def test_network_that_returns_another_size_is_padded_until_it_does_not():
    class Pooling(nn.Module):
        def forward(self, x):
            halved = nn.functional.avg_pool3d(x, 2)
            return {"logits": nn.functional.interpolate(halved, scale_factor=2)}

    found = predict_probability(Pooling(), torch.rand(9, 9, 9), window=(7, 7, 7))
    assert found.shape == (9, 9, 9)


def test_memory_that_ends_is_no_reason_to_try_larger_windows():
    sizes = []

    class Large(nn.Module):
        def forward(self, x):
            sizes.append(x.shape[-1])
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        predict_probability(Large(), torch.rand(7, 7, 7), window=(7, 7, 7))
    assert sizes == [7]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("data.crop", [18, 16, 16], r"sizes that 4 divides.*choose data.crop=\[20, 16, 16\]"),
        ("inference.window", [7, 7, 7], None),
    ],
)
def test_size_that_a_network_does_not_take_is_refused_before_the_first_step(
    tiny, tmp_path, setting, value, message
):
    config = tiny()
    config.strategies, config.model = {"supervised": {}}, {"name": "yournet"}
    group, name = setting.split(".")
    setattr(getattr(config, group), name, tuple(value))
    if message is None:
        assert train(config, tmp_path / "run").finished
        return
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_network_that_fails_on_every_window_is_refused_before_the_first_step(
    tiny, tmp_path, monkeypatch
):
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(1, 1, 1)

        def forward(self, x):
            assert x.shape[-1] <= 16, "too large for me"
            return self.conv(x)

    monkeypatch.setitem(models._factories, "small", Small)
    config = tiny()
    config.strategies, config.model = {"supervised": {}}, {"name": "small"}
    config.inference.window = (17, 17, 17)
    with pytest.raises(UserError, match=r"inference.window=\[17, 17, 17\].*too large for me"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_model_words_choose_a_yaml_where_there_is_one():
    assert model_words(["model=dynunet", "model.name=x"]) == ["model=dynunet", "model.name=x"]
    assert model_words(["seed=1", "model.name=segresnet"]) == ["seed=1", "model=segresnet"]


def test_size_check_of_weights_reads_options_of_size_alone():
    weights = {"w": torch.zeros(4, 4)}
    _require_filled({"name": "yournet", "hu_scale": 1000.0, "window": 96}, weights)
    with pytest.raises(ValueError, match="more than the weights hold"):
        _require_filled({"name": "reversible_unet", "widths": [4, 2**18]}, weights)


@pytest.fixture(scope="module")
def scan(phantom):
    return phantom.parent / pd.read_csv(phantom)["image"][0]


def test_own_network_exported_as_safetensors_predicts_bit_for_bit(run, scan, tmp_path):
    folder = export(run, tmp_path / "e")
    one, two = (semilung.load(source).predict(scan).probability.data for source in (run, folder))
    assert one.tobytes() == two.tobytes()
    assert list(json.loads((folder / CONFIG).read_text())["packages"]) == ["net"]


def test_own_network_of_an_export_whose_package_is_absent_is_named(run, tmp_path, monkeypatch):
    folder = export(run, tmp_path / "e")
    monkeypatch.delitem(models._factories, "yournet")
    with pytest.raises(UserError, match=r"yournet is of a package .* one of net; install it"):
        semilung.load(folder)


def test_own_network_runs_in_a_monai_bundle_in_windows_that_it_divides(run, scan, tmp_path):
    bundle = export(run, tmp_path / "b", to="monai", settings=["inference.threshold=0.1"])
    config = ConfigParser.load_config_file(bundle / "configs/inference.json")
    assert config["inferer"]["roi_size"] == [20, 20, 20]
    volume = read_volume(scan)
    write_volume(tmp_path / "in/cube.nii.gz", volume.data[:31, :29, :17], volume.affine)
    run_bundle(
        config_file=str(bundle / "configs/inference.json"),
        bundle_root=str(bundle),
        dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
    )
    assert read_volume(tmp_path / "out/cube_nodules.nii.gz").shape == (31, 29, 17)


@pytest.mark.slow
def test_own_network_exported_as_onnx_states_its_multiple(run, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(export(run, tmp_path / "net.onnx", to="onnx"))
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["size_multiple"] == "4"
