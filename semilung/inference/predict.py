"""Segmentation of prepared volumes, and of scans on disk in their native geometry."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from semilung.data.cache.prepare import prepared_image
from semilung.data.data_config import DataConfig
from semilung.data.io.resample import resample_onto
from semilung.data.io.volume import Volume, read_volume
from semilung.inference.inference_config import InferenceConfig
from semilung.inference.postprocess import to_mask
from semilung.inference.sliding_window import predict_probability


def segment(
    model: nn.Module | Sequence[nn.Module],
    hu: NDArray[Any],
    config: InferenceConfig,
    *,
    window_hu: tuple[float, float],
    spacing_mm: Sequence[float],
    lungs: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Segment a prepared volume.

    Args:
        model: One model, or several whose probabilities are averaged; see `predict_probability`.
        hu: `(X, Y, Z)`, prepared as in training.
        config: Window, threshold and minimum component volume.
        window_hu: HU scaled to 0 and 1.
        spacing_mm: Voxel size along X, Y, Z.
        lungs: Blocks with lung, as of a `PreparedCase`; windows without any are skipped.

    Returns:
        `(X, Y, Z)` uint8, 0 or 1.
    """
    probability = probability_map(model, hu, config, window_hu=window_hu, lungs=lungs)
    return cut(probability, config, spacing_mm=spacing_mm)


def predict_scan(
    model: nn.Module | Sequence[nn.Module],
    path: str | os.PathLike[str],
    data: DataConfig,
    config: InferenceConfig,
    *,
    series: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Volume, Volume]:
    """Segment a CT of any orientation and spacing.

    The scan is prepared as in training and predicted by sliding window. The probability, not the
    mask, is resampled to the grid of the scan and thresholded there, so that the surface has the
    precision of the interpolation.

    Args:
        model: One model, or several whose probabilities are averaged; see `predict_probability`.
        path: A CT in HU.
        data: Preparation and intensity scaling of the training. If it crops to the lungs, windows
            without lung are skipped, and their probability is 0.
        config: Window, threshold and minimum component volume.
        series: Number of the series in a DICOM folder.
        progress: As of `predict_probability`.

    Returns:
        The mask (uint8, 0 or 1) and the probability (float32), both with the file's shape and
        affine.

    Raises:
        UserError: The file cannot be read or has voxels that are not finite.
    """
    scan = read_volume(path, series=series)
    prepared, lungs = prepared_image(scan, data, name=str(path))
    prepared_map = probability_map(
        model, prepared.data, config, window_hu=data.window_hu, lungs=lungs, progress=progress
    )
    probability = resample_onto(
        Volume(prepared_map, prepared.affine), scan.shape, scan.affine, order=1, fill=0.0
    )
    mask = cut(probability.data, config, spacing_mm=scan.spacing_mm)
    return Volume(mask, scan.affine), Volume(probability.data, scan.affine)


def probability_map(
    model: nn.Module | Sequence[nn.Module],
    hu: NDArray[Any],
    config: InferenceConfig,
    *,
    window_hu: tuple[float, float],
    lungs: NDArray[np.bool_] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the foreground probability `(X, Y, Z)` of a prepared volume; see `segment`."""
    probability = predict_probability(
        model,
        torch.from_numpy(hu),
        window=config.window,
        overlap=config.overlap,
        batch_size=config.batch_size,
        window_hu=window_hu,
        lungs=lungs,
        precision=config.precision,
        progress=progress,
    )
    return probability.numpy()


def cut(
    probability: NDArray[np.float32], config: InferenceConfig, *, spacing_mm: Sequence[float]
) -> NDArray[np.uint8]:
    """Return the mask `(X, Y, Z)`, 0 or 1, of a probability map: `to_mask` with a config."""
    return to_mask(
        probability,
        threshold=config.threshold,
        min_volume_mm3=config.min_volume_mm3,
        spacing_mm=spacing_mm,
    )
