"""ONNX: equal to torch at any size, with the preparation, and without paths of this machine."""

import json
import sys

import numpy as np
import pytest
import torch

import semilung
from semilung.api.export import export
from semilung.data.loading.intensity import scale_hu
from semilung.export import onnx_net
from semilung.export.activated_net import TOLERANCE
from semilung.runs import load_predictor
from semilung.types import UserError


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    return export(trained, tmp_path_factory.mktemp("onnx") / "net.onnx", to="onnx")


@pytest.fixture(scope="module")
def session(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16, 16, 16), (17, 20, 33), (5, 9, 40)])
@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_equals_torch_at_sizes_that_were_not_compared(trained, session, size, batch):
    hu = np.random.default_rng(0).normal(-500, 400, (batch, 1, *size))
    image = scale_hu(hu, (-1000, 400))
    (probability,) = session.run(["probability"], {"image": image})
    with torch.no_grad():
        expected = load_predictor(trained).cpu()(torch.from_numpy(image))["logits"].sigmoid()
    np.testing.assert_allclose(probability, expected.numpy(), atol=TOLERANCE)
    assert probability.std() > 0


@pytest.mark.slow
def test_onnx_states_axes_opset_preparation_and_output(session, exported):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [20]
    for value in (*session.get_inputs(), *session.get_outputs()):
        assert [axis for axis in value.shape if axis != 1] == ["batch", "x", "y", "z"]
    properties = session.get_modelmeta().custom_metadata_map
    assert "probabilities" in properties["output"]
    assert json.loads(properties["inference"])["threshold"] == 0.5
    assert json.loads(properties["preparation"])["spacing_mm"] == [4, 4, 4]
    assert json.loads(properties["size_multiple"]) == 1
    assert semilung.__path__[0].encode() not in exported.read_bytes()


def test_onnx_without_its_packages_names_the_extra(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'semilung\[onnx\]'"):
        export(trained, tmp_path / "net.onnx", to="onnx")


def test_onnx_that_cannot_be_recorded_writes_nothing(trained, tmp_path, monkeypatch):
    axes = {}

    def refuse(*_, dynamic_shapes, **__):
        axes.update(*dynamic_shapes)
        raise RuntimeError("data-dependent expression")

    monkeypatch.setattr(onnx_net.torch.onnx, "export", refuse)
    with pytest.raises(UserError, match=r"cannot be recorded as ONNX: data-dependent"):
        export(trained, tmp_path / "net.onnx", to="onnx")
    assert list(tmp_path.iterdir()) == []
    assert sorted(axes) == [0, 2, 3, 4]  # all but the channel are recorded as free


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("net", {"to": "onnx"}, "an ONNX is one file"),
        ("net.onnx", {"to": "onnx", "half": True}, "--half is of --to safetensors"),
        ("net", {"to": "nnunet"}, "--to is one of safetensors, monai, onnx"),
    ],
)
def test_export_with_options_that_do_not_go_together_is_refused(
    trained, tmp_path, name, options, message
):
    with pytest.raises(UserError, match=message):
        export(trained, tmp_path / name, **options)
