"""From a scan on disk to a mask and a probability map on that scan's own grid."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from semilung.data.faults import finite_fault
from semilung.data.grids import at_spacing, boxed, image_onto
from semilung.data.intensity import scale_hu
from semilung.data.lungs import lung_box
from semilung.data.volume import Volume, read_volume, resample_onto, to_ras
from semilung.inference.postprocess import to_mask
from semilung.inference.sliding_window import predict_probability
from semilung.types import UserError


def predict_scan(
    model: nn.Module | Sequence[nn.Module],
    path: str | os.PathLike[str],
    *,
    spacing_mm: tuple[float, float, float] | None,
    clip_hu: tuple[float, float],
    window_hu: tuple[float, float],
    window: Sequence[int],
    lung_margin_mm: float | None = None,
    overlap: float = 0.5,
    batch_size: int = 4,
    threshold: float = 0.5,
    min_volume_mm3: float = 0.0,
) -> tuple[Volume, Volume]:
    """Segment a CT of any orientation and spacing.

    The scan is brought to what the network knows, step by step as in preparation; predicted by
    sliding window; and the probability, not the mask, is resampled back: cut at the threshold on
    the scan's own grid, its surface keeps the precision of the interpolation.

    Args:
        model: One model, or several whose probabilities are averaged; see `predict_probability`.
        path: A CT in HU.
        spacing_mm: The training data's; None keeps the scan's own.
        clip_hu: The training data's.
        window_hu: HU scaled to 0 and 1.
        window: Size of a window in voxels along X, Y, Z of the RAS grid.
        lung_margin_mm: The training data's margin where they were cropped to the lungs; beyond it
            the probability is 0. None predicts the whole scan.
        overlap: Share of a window that its neighbour covers too, in [0, 1).
        batch_size: Windows a forward pass.
        threshold: Foreground where the probability is above it.
        min_volume_mm3: Smaller components are dropped.

    Returns:
        The mask (uint8, 0 or 1) and the probability (float32), both with the file's shape and
        affine.

    Raises:
        UserError: The file cannot be read or has voxels that are not finite, or threshold or volume
            are out of range.
    """
    scan = read_volume(path)
    if (fault := finite_fault(scan.data)) is not None:
        raise UserError(f"{path}: {fault}")
    prepared = _as_prepared(scan, spacing_mm, clip_hu, lung_margin_mm)
    image = torch.from_numpy(scale_hu(prepared.data, window_hu))
    found = predict_probability(
        model, image, window=window, overlap=overlap, batch_size=batch_size
    ).numpy()
    probability = resample_onto(
        Volume(found, prepared.affine), scan.shape, scan.affine, order=1, fill=0.0
    )
    mask = to_mask(
        probability.data,
        threshold=threshold,
        min_volume_mm3=min_volume_mm3,
        spacing_mm=scan.spacing_mm,
    )
    return Volume(mask, scan.affine), Volume(probability.data, scan.affine)


def _as_prepared(
    scan: Volume,
    spacing_mm: tuple[float, float, float] | None,
    clip_hu: tuple[float, float],
    lung_margin_mm: float | None,
) -> Volume:
    """The steps of `semilung.data.prepare` in their order: RAS, lungs, clip, spacing, whole HU."""
    volume = to_ras(scan)
    if lung_margin_mm is not None:
        volume = boxed(volume, lung_box(volume, lung_margin_mm))
    volume = Volume(np.clip(volume.data, *clip_hu, dtype=np.float32), volume.affine)
    if spacing_mm is not None:
        volume = image_onto(volume, at_spacing(volume, spacing_mm), fill=clip_hu[0])
    return Volume(np.rint(volume.data), volume.affine)
