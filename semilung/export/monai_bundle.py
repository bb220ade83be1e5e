"""MONAI bundle: a folder that MONAI's own runner runs, without semilung."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semilung import __version__
from semilung.export.activated_net import ActivatedNet
from semilung.export.bundle_config import inference_config
from semilung.files import write_bytes, write_text
from semilung.inference.predictor import MASK_HEAD
from semilung.models import common_footprint
from semilung.nested import plain
from semilung.runs.exported_config import INFERENCE, PREPARATION
from semilung.runs.exported_net import SavedNet
from semilung.runs.train_config import TrainConfig
from semilung.tasks import build_tasks, heads_of_tasks
from semilung.types import UserError

METADATA = "configs/metadata.json"
PROGRAM, INFERENCE_JSON = "models/model.ts", "configs/inference.json"
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
RUNNER = {"pytorch-ignite": "0.5", "fire": "0.7"}
"""What MONAI's runner needs, with the lowest versions of the extra `bundle`."""

LICENSE = """No licence is stated for these weights: those who trained them choose it.
Replace this file before you pass the bundle on. Nothing in the folder is code of semilung.
"""


def write_bundle(net: nn.Module, saved: SavedNet, config: TrainConfig, out: Path) -> None:
    """Write a bundle whose network is a TorchScript program, independent of semilung.

    The program returns probabilities, for volumes of any size. It is compared with the net first.

    Args:
        net: The net.
        saved: What it was built from.
        config: Of its run.
        out: Folder of the bundle.

    Raises:
        UserError: The run does not segment, the net cannot be recorded, or the program disagrees
            with it.

    Warns:
        UserWarning: What the bundle leaves out of the run's own prediction.
    """
    heads = heads_of_tasks(build_tasks(config.tasks).values())
    if MASK_HEAD not in heads:
        raise UserError(
            "a MONAI bundle writes masks, which no task of this run predicts; choose --to onnx or "
            "safetensors"
        )
    if config.inference.gate > 0:
        warnings.warn(
            f"the bundle's mask is not limited to detected nodules "
            f"(inference.gate={config.inference.gate:g})",
            stacklevel=2,
        )
    if config.inference.flips:
        warnings.warn(
            "the bundle predicts the image alone, not its mirrored ones too (inference.flips=true)",
            stacklevel=2,
        )
    if config.inference.min_volume_mm3 > 0:
        warnings.warn(
            f"the bundle keeps components below inference.min_volume_mm3="
            f"{config.inference.min_volume_mm3:g}, for which MONAI has no transform without "
            f"scikit-image",
            stacklevel=2,
        )
    activated = ActivatedNet(net, {MASK_HEAD: heads[MASK_HEAD]})
    program = _program(activated)
    whole = common_footprint([net]) is not None
    inference = inference_config(
        config.data, config.inference, whole=whole, multiple=activated.multiple
    )
    write_bytes(out / PROGRAM, program)
    write_text(out / INFERENCE_JSON, _json(inference))
    write_text(out / "docs/README.md", _readme(saved, config))
    write_text(out / "LICENSE", LICENSE)
    write_text(out / METADATA, _json(_metadata(activated, saved, config)))


class _Mask(nn.Module):
    """The one output of a bundle's network as a tensor, as inferers expect it."""

    def __init__(self, activated: ActivatedNet) -> None:
        super().__init__()
        self.activated = activated

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activated(x)[0]  # type: ignore[no-any-return]


def _program(activated: ActivatedNet) -> bytes:
    """Return the recorded net, equal to it at several sizes."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # sizes become constants: `require_equal` would see it
        try:
            traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
                _Mask(activated).eval(), activated.example(), check_trace=False
            )
            buffer = io.BytesIO()
            torch.jit.save(traced, buffer)
        except Exception as error:  # torch.jit has no error of its own
            reason = " ".join(str(error).split())[-300:]
            raise UserError(
                f"the net cannot be recorded as TorchScript: {reason}. Choose --to safetensors"
            ) from error
        content = _without_sources(buffer.getvalue())
        loaded = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    activated.require_equal(lambda image: [loaded(image).detach().numpy()])
    return content


def _without_sources(content: bytes) -> bytes:
    """Return a TorchScript archive without its notes for debuggers: paths of this machine."""
    stripped = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(stripped, "w") as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(name), source.read(name))
    return stripped.getvalue()


def _json(values: dict[str, Any]) -> str:
    return json.dumps(plain(values), indent=2) + "\n"


def _metadata(activated: ActivatedNet, saved: SavedNet, config: TrainConfig) -> dict[str, Any]:
    data, inference = asdict(config.data), asdict(config.inference)
    size = [f"{activated.multiple}*n" if activated.multiple > 1 else "*"] * 3

    def volume(kind: str, layout: str, meaning: str) -> dict[str, Any]:
        return {
            "type": kind,
            "format": layout,
            "modality": "CT",
            "num_channels": 1,
            "spatial_shape": size,
            "dtype": "float32",
            "value_range": [0, 1],
            "is_patch_data": False,
            "channel_def": {"0": meaning},
        }

    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported by semilung {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel"), **RUNNER},
        "name": saved.provenance.run,
        "task": "segmentation of lung nodules in CT",
        "description": "Probability and mask of lung nodules, trained with semilung.",
        "authors": "not stated; name those who trained the net",
        "copyright": "not stated; see LICENSE",
        "data_type": "nibabel",
        "image_classes": "CT in HU, scaled to [0, 1]",
        "pred_classes": "probability of nodule",
        "intended_use": "research; not a medical device",
        "network_data_format": {
            "inputs": {"image": volume("image", "hounsfield", "CT")},
            "outputs": {"pred": volume("image", "segmentation", "probability of nodule")},
        },
        "semilung": {
            "preparation": {name: data[name] for name in PREPARATION},
            "inference": {name: inference[name] for name in INFERENCE},
            "provenance": asdict(saved.provenance),
        },
    }


def _readme(saved: SavedNet, config: TrainConfig) -> str:
    source = saved.provenance
    lungs = (
        "\nsemilung also searches the lungs and predicts nothing at a distance from them. This "
        "bundle does not:\nthere may be findings outside of the lungs that `semilung predict` does "
        "not have.\n"
        if config.data.crop_to_lungs
        else ""
    )
    return f"""# Lung nodules in CT

Exported by semilung {__version__} from the run `{source.run}`: {source.net} of the
checkpoint `{source.checkpoint}`, after {source.steps} steps. For research; not a medical device.

    pip install monai torch nibabel pytorch-ignite fire
    cd THIS_FOLDER
    python -m monai.bundle run --config_file configs/inference.json --dataset_dir FOLDER_OF_NIFTI

writes `eval/<scan>_nodules.nii.gz`, a mask on the grid of each `*.nii.gz`, with the threshold
{config.inference.threshold:g} (`--threshold 0.3` takes another one). Scans must be in HU.
{lungs}
`models/model.ts` is a TorchScript program. It needs no code of semilung and returns probabilities.
"""
