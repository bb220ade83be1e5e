"""ONNX: the net as a graph for other runtimes, compared with torch before it is written."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semilung.export.activated_net import TOLERANCE, ActivatedNet
from semilung.files import write_bytes
from semilung.nested import plain
from semilung.runs.exported_config import INFERENCE, PREPARATION
from semilung.runs.exported_net import SavedNet
from semilung.runs.train_config import TrainConfig
from semilung.tasks import build_tasks, heads_of_tasks
from semilung.types import UserError

OPSET = 20
"""ONNX operators of 2023, which onnxruntime knows since 1.17."""

AXES = {0: "batch", 2: "x", 3: "y", 4: "z"}
"""Axes of any size."""


def write_onnx(net: nn.Module, saved: SavedNet, config: TrainConfig, out: Path) -> None:
    """Write a net as one ONNX file with dynamic batch and spatial sizes.

    `torch.onnx` records it by `torch.export`, which keeps arithmetic of sizes (padding to the
    stride, cropping) as such. The input `image` is `(batch, 1, x, y, z)` float32 in [0, 1]; outputs
    are activated. `metadata_props` hold preparation and inference settings as JSON.

    Args:
        net: The net.
        saved: What it was built from.
        config: Of its run.
        out: The file.

    Raises:
        UserError: onnx is not installed, the net cannot be recorded, or onnxruntime disagrees with
            torch.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise UserError(
            f"--to onnx needs onnx, onnxruntime and onnxscript, of which one is not installed "
            f"({error}): pip install 'semilung[onnx]'"
        ) from error
    activated = ActivatedNet(net, heads_of_tasks(build_tasks(config.tasks).values()))
    model = _recorded(activated)
    _strip(model)
    onnx.helper.set_model_props(model, _properties(activated, saved, config))
    model.producer_name = "semilung"
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()

    def program(image: torch.Tensor) -> Any:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return session.run(None, {"image": image.numpy()})

    activated.require_equal(program)
    write_bytes(out, content)


def _recorded(activated: ActivatedNet) -> Any:
    dynamic = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch about its own internals
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                activated,
                (activated.example(),),
                input_names=["image"],
                output_names=activated.names,
                dynamic_shapes=(dict.fromkeys(AXES, dynamic),),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # torch.export has no error of its own
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"the net cannot be recorded as ONNX: {reason}. Choose --to safetensors"
            ) from error
    assert program is not None
    return program.model_proto


def _strip(model: Any) -> None:
    """Remove the recorder's notes, which hold paths of this machine, and name the dynamic axes."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for function in model.functions:
        for node in function.node:
            node.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if axis in AXES:
                dim.dim_param = AXES[axis]
    for initializer in model.graph.initializer:
        initializer.ClearField("metadata_props")


def _properties(activated: ActivatedNet, saved: SavedNet, config: TrainConfig) -> dict[str, str]:
    data, inference = asdict(config.data), asdict(config.inference)
    values = {
        "input": "image (batch, 1, x, y, z) float32: HU prepared as below, scaled from window_hu "
        "to [0, 1]; x, y, z run to right, anterior, superior",
        "output": "probabilities after the activation, not logits; foreground above the threshold",
        "outputs": activated.names,
        "size_multiple": activated.multiple,
        "tolerance": TOLERANCE,
        "preparation": {name: data[name] for name in PREPARATION},
        "inference": {name: inference[name] for name in INFERENCE},
        "provenance": asdict(saved.provenance),
    }
    return {k: v if isinstance(v, str) else json.dumps(plain(v)) for k, v in values.items()}
