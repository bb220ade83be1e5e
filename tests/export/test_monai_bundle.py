"""MONAI bundles: MONAI's own runner writes the masks of `semilung predict`."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from monai.bundle import ConfigParser, verify_net_in_out
from monai.bundle import run as run_bundle

import semilung
from semilung.api.export import export
from semilung.data.cache.prepare import prepared_image
from semilung.data.data_config import DataConfig
from semilung.data.io.volume import Volume, read_volume, write_volume
from semilung.data.loading.intensity import scale_hu
from semilung.export.bundle_config import inference_config
from semilung.export.monai_bundle import write_bundle
from semilung.inference import InferenceConfig
from semilung.runs.load import load_predictor, prediction_config, read_net
from semilung.types import UserError

THRESHOLD = 0.01
REQUIRED = (
    "schema version changelog monai_version pytorch_version numpy_version task description authors "
    "copyright required_packages_version network_data_format"
)
"""Keys of `metadata.json` by the bundle specification and its schema, which is on the web."""


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "b"
    return export(trained, folder, to="monai", settings=[f"inference.threshold={THRESHOLD}"])


@pytest.fixture
def scans(phantom, tmp_path):
    """A folder of two scans, one of them LPS."""
    folder = tmp_path / "scans"
    first, second, *_ = sorted((phantom.parent / "images").glob("*.nii.gz"))
    folder.mkdir()
    shutil.copy(first, folder)
    volume = read_volume(second)
    affine = volume.affine @ np.diag([-1.0, -1, 1, 1])
    write_volume(folder / "lps.nii.gz", volume.data[::-1, ::-1], affine)
    return folder


def require_equal_masks(trained, scans, written):
    paths = sorted(scans.glob("*.nii.gz"))
    assert len(paths) == 2
    run = semilung.load(trained)
    for path in paths:
        expected = run.predict(path, threshold=THRESHOLD).mask
        mask = read_volume(written / path.name.replace(".nii.gz", "_nodules.nii.gz"))
        assert 0 < expected.data.mean() < 1
        assert (mask.data != expected.data).mean() < 1e-3
        assert mask.data.dtype == np.uint8
        np.testing.assert_allclose(mask.affine, expected.affine, atol=1e-4)


def test_bundle_in_monais_runner_writes_the_masks_of_predict(trained, bundle, scans, tmp_path):
    run_bundle(
        config_file=str(bundle / "configs/inference.json"),
        bundle_root=str(bundle),
        dataset_dir=str(scans),
        output_dir=str(tmp_path / "out"),
    )
    require_equal_masks(trained, scans, tmp_path / "out")


@pytest.mark.slow
def test_bundle_on_the_command_line_needs_no_semilung(trained, bundle, scans, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['semilung'] = None\n")
    command = [sys.executable, "-m", "monai.bundle", "run"]
    command += ["--config_file", "configs/inference.json", "--dataset_dir", str(scans)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run(command, cwd=bundle, env=environment, check=True, capture_output=True)
    require_equal_masks(trained, scans, bundle / "eval")
    shutil.rmtree(bundle / "eval")


@pytest.mark.parametrize("spacing_mm", [None, (2.0, 2.0, 2.0), (5.0, 3.0, 1.7)])
def test_bundle_prepares_a_scan_as_semilung_does(tmp_path, spacing_mm):
    noise = np.random.default_rng(0).normal(-400, 900, (23, 19, 14)).clip(-1500, 2500)
    affine = np.array([[0, 1.1, 0, 5], [-0.9, 0, 0, -9], [0, 0, -3.1, 70], [0, 0, 0, 1]])
    write_volume(tmp_path / "scan.nii.gz", noise.astype(np.int16), affine)
    data = DataConfig(spacing_mm=spacing_mm, clip_hu=(-1100, 900), window_hu=(-1000, 800))
    prepared, _ = prepared_image(read_volume(tmp_path / "scan.nii.gz"), data, name="scan")
    config = ConfigParser(inference_config(data, InferenceConfig(), whole=True))
    preprocessing = config.get_parsed_content("preprocessing")
    image = preprocessing({"image": str(tmp_path / "scan.nii.gz")})["image"]
    expected = scale_hu(prepared.data, data.window_hu)
    assert image.shape == (1, *expected.shape)
    np.testing.assert_allclose(image.affine, prepared.affine, atol=1e-5)
    difference_hu = np.abs(image[0].numpy() - expected) * 1800
    assert difference_hu.max() < 1.01  # half-way values are rounded either way
    assert (difference_hu > 0.5).mean() < 0.002


def test_bundle_clips_before_it_resamples(tmp_path):
    metal = np.full((8, 8, 8), -1000.0)
    metal[4, 4, 4] = 30000
    write_volume(tmp_path / "scan.nii.gz", metal.astype(np.int16), np.diag([1.0, 1, 1, 1]))
    data = DataConfig(spacing_mm=(2.0, 2.0, 2.0), clip_hu=(-1024, 500))
    config = ConfigParser(inference_config(data, InferenceConfig(), whole=True))
    image = config.get_parsed_content("preprocessing")({"image": str(tmp_path / "scan.nii.gz")})
    volume = Volume(metal.clip(-1024, 500), np.diag([1.0, 1, 1, 1]))
    expected, _ = prepared_image(volume, data, name="metal")
    difference = image["image"][0].numpy() - scale_hu(expected.data, data.window_hu)
    assert np.abs(difference).max() < 1e-3


def test_bundle_metadata_has_the_keys_of_the_schema_and_describes_the_net(bundle):
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert set(REQUIRED.split()) <= set(metadata)
    assert metadata["semilung"]["inference"]["threshold"] == THRESHOLD
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs/metadata.json"),
        config_file=str(bundle / "configs/inference.json"),
        bundle_root=str(bundle),
        device="cpu",
        any=20,
    )


def test_bundle_holds_no_path_of_this_machine(bundle, trained):
    names = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    folders = {"configs/metadata.json", "configs/inference.json", "docs/README.md"}
    assert names == folders | {"models/model.ts", "LICENSE"}
    for name in names:
        content = (bundle / name).read_bytes()
        assert not [p for p in (str(trained.parent), semilung.__path__[0]) if p.encode() in content]


@pytest.mark.parametrize(("whole", "window"), [(True, None), (False, None), (True, (32, 32, 32))])
def test_bundle_windows_are_those_of_predict(whole, window):
    config = inference_config(DataConfig(), InferenceConfig(window=window), whole=whole)
    roi_size = config["inferer"]["roi_size"]
    assert roi_size == ([-1] * 3 if whole and window is None else list(window or (64,) * 3))


def test_bundle_of_a_run_without_masks_is_refused(trained, tmp_path, monkeypatch):
    task = SimpleNamespace(heads={"hu": lambda values: values})
    monkeypatch.setattr("semilung.export.monai_bundle.build_tasks", lambda _: {"mean_hu": task})
    net, config = read_net(trained), prediction_config(trained)
    with pytest.raises(UserError, match="which no task of this run predicts"):
        write_bundle(load_predictor(trained), net, config, tmp_path)


def test_bundle_warns_of_a_minimum_volume_that_it_leaves_out(trained, tmp_path):
    config = prediction_config(trained)
    config = replace(config, inference=replace(config.inference, min_volume_mm3=10))
    with pytest.warns(UserWarning, match="min_volume_mm3=10"):
        write_bundle(load_predictor(trained), read_net(trained), config, tmp_path)
