"""Configs of a MONAI bundle: preparation and post-processing of semilung by MONAI's transforms."""

from __future__ import annotations

from typing import Any

from semilung.data.data_config import DataConfig
from semilung.inference.inference_config import FALLBACK_WINDOW, InferenceConfig

LAYERS = "monai.networks.layers"
SMOOTH = (
    f"$lambda x: {LAYERS}.separable_filtering(x[None], [{LAYERS}.gaussian_1d("
    "((r - 1) / 2).clamp(min=1e-3).float(), 3.0, 'sampled', True) "
    "for r in @ratio(x)], mode='replicate')[0]"
)
"""Anti-aliasing: a Gaussian of `(r - 1) / 2` voxels along an axis that shrinks by r."""

RESAMPLE = (
    "$lambda x: monai.transforms.SpatialResample(padding_mode='border', dtype=torch.double)("
    "x, dst_affine=torch.matmul(x.affine.double(), torch.cat(["
    "torch.cat([torch.diag(@ratio(x)), (@ratio(x)[:, None] - 1) / 2], dim=1), "
    "torch.tensor([[0.0, 0.0, 0.0, 1.0]]).double()])), "
    "spatial_size=[max(1, round(float(n / r))) for n, r in zip(x.shape[1:], @ratio(x))])"
)
"""Linear interpolation onto the grid of another spacing, outer corner on outer corner."""


def inference_config(
    data: DataConfig, inference: InferenceConfig, *, whole: bool, multiple: int = 1
) -> dict[str, Any]:
    """Return `inference.json`: every NIfTI of a folder becomes a mask on its own grid.

    Args:
        data: Preparation of scans; lungs are not searched.
        inference: Window, threshold.
        whole: Whether the net predicts a whole volume in one pass.
        multiple: Edges of windows are rounded up to multiples of it.
    """
    return {
        "imports": ["$import glob", "$import torch", "$import monai"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "threshold": inference.threshold,
        "spacing_mm": None if data.spacing_mm is None else list(data.spacing_mm),
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "network": "$@network_def.to(@device).eval()",
        "ratio": "$lambda x: torch.tensor(@spacing_mm).double() / x.pixdim.double()",
        "smooth": SMOOTH,
        "resample": RESAMPLE,
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(data)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": _inferer(inference, whole=whole, multiple=multiple),
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing()},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "decollate": True,
        },
        "initialize": ["$torch.manual_seed(0)"],
        "run": ["$@evaluator.run()"],
    }


def _preprocessing(data: DataConfig) -> list[dict[str, Any]]:
    """Return MONAI's transforms that do what `prepared_image` and `scale_hu` do."""
    low, high = data.clip_hu
    window_low, window_high = data.window_hu

    def on_image(function: str) -> dict[str, Any]:
        return {"_target_": "Lambdad", "keys": "image", "func": function}

    spacing = [on_image("@smooth"), on_image("@resample")] if data.spacing_mm else []
    return [
        {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
        {"_target_": "CopyItemsd", "keys": "image", "names": "scan"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
        on_image(f"$lambda x: x.clamp({low}, {high})"),
        *spacing,
        on_image(
            f"$lambda x: (x.round().clamp({window_low}, {window_high}) - {window_low})"
            f" / {window_high - window_low}"
        ),
        {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
    ]


def _inferer(inference: InferenceConfig, *, whole: bool, multiple: int) -> dict[str, Any]:
    if whole and inference.window is None:  # -1 is the whole edge, in a single window
        window = {"roi_size": [-1, -1, -1], "overlap": 0.5, "mode": "constant", "sw_batch_size": 1}
    else:
        window = {
            "roi_size": [n + -n % multiple for n in inference.window or FALLBACK_WINDOW],
            "overlap": inference.overlap,
            "mode": "gaussian",
            "sw_batch_size": inference.batch_size,
        }
    return {"_target_": "SlidingWindowInferer", **window}


def _postprocessing() -> list[dict[str, Any]]:
    """Return the way of a probability back to the scan's grid, where it is thresholded."""
    return [
        {
            "_target_": "ResampleToMatchd",
            "keys": "pred",
            "key_dst": "scan",
            "mode": "bilinear",
            "padding_mode": "border",
            "dtype": "$torch.double",
        },
        {
            "_target_": "Lambdad",
            "keys": "pred",
            "func": "$lambda p: (p > @threshold).to(torch.uint8)",
        },
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "nodules",
            "output_dtype": "$torch.uint8",
            "separate_folder": False,
            "resample": False,
        },
    ]
