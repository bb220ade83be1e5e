"""Dice, HD95 and surface Dice per scan, and detection and overlap per lesion.

Every function takes `(X, Y, Z)` arrays: a prediction that is foreground where it is not 0, and a
reference with 0 background, 1 to 254 lesions and 255 ignore. Ignored voxels are removed from both.
NaN means undefined: overlap is undefined where the reference is empty, and such a scan is evaluated
by its false positives.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray
from scipy import ndimage

from semilung.evaluation.component_overlap import component_overlap
from semilung.types import IGNORE

DETECTION_IOU = 0.1
"""A lesion is detected if the components that touch it reach this intersection over union."""

SIZE_BINS_MM: tuple[tuple[float, float], ...] = ((0, 6), (6, 10), (10, 20), (20, math.inf))
"""Bins `low <= diameter_mm < high`; guidelines recommend follow-up of nodules from 6 mm."""

Mask = NDArray[np.bool_]


def dice(prediction: NDArray[Any], reference: NDArray[Any]) -> float:
    """Dice coefficient, `2 |P ∩ R| / (|P| + |R|)` (Dice, Ecology 1945).

    Returns:
        In [0, 1]; 0 for an empty prediction, NaN for an empty reference.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> dice(np.array([[[1, 1, 0]]]), np.array([[[0, 1, 0]]]))
        0.6666666666666666
    """
    p, r = foreground(prediction, reference)
    if not r.any():
        return math.nan
    return float(2 * np.count_nonzero(p & r) / (np.count_nonzero(p) + np.count_nonzero(r)))


def hd95_mm(
    prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: Sequence[float]
) -> float:
    """95th percentile of the Hausdorff distance in mm, the larger of the two directions.

    Distances are measured between the centres of surface voxels: those with a background voxel, or
    the edge of the volume, at one of their six faces.

    Returns:
        0 or more; NaN where prediction or reference is empty. Report a mean over scans together
        with the number of empty predictions, because missing the difficult scans improves the mean.

    Raises:
        ValueError: The shapes differ.
    """
    p, r = foreground(prediction, reference)
    if not (p.any() and r.any()):
        return math.nan
    tensors = _surface_input(p, r)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.5+ warns of its own arguments
        distance = compute_hausdorff_distance(
            *tensors, include_background=True, percentile=95, spacing=[float(s) for s in spacing_mm]
        )
    return float(distance)


def surface_dice(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing_mm: Sequence[float],
    tolerance_mm: float = 2.0,
) -> float:
    """Surface Dice: share of both surfaces within a tolerance of the other (Nikolov et al., 2018).

        (|{p ∈ ∂P : d(p, ∂R) <= τ}| + |{r ∈ ∂R : d(r, ∂P) <= τ}|) / (|∂P| + |∂R|)

    Surface elements lie at corners shared by foreground and background voxels and are weighted by
    their area in mm2.

    Args:
        prediction: `(X, Y, Z)`.
        reference: `(X, Y, Z)`.
        spacing_mm: Voxel size along X, Y, Z.
        tolerance_mm: τ.

    Returns:
        In [0, 1]; 0 for an empty prediction, NaN for an empty reference.

    Raises:
        ValueError: The shapes differ.
    """
    p, r = foreground(prediction, reference)
    if not r.any():
        return math.nan
    if not p.any():
        return 0.0
    tensors = _surface_input(p, r)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        share = compute_surface_dice(
            *tensors,
            class_thresholds=[tolerance_mm],
            include_background=True,
            spacing=[float(s) for s in spacing_mm],
            use_subvoxels=True,
        )
    return float(share)


@dataclass(frozen=True)
class Lesion:
    """Detection and overlap of one reference lesion.

    `instance` is its mask value, `diameter_mm` that of the sphere of equal volume. `iou` and `dice`
    compare it with the union of the predicted components that touch it, without the voxels of other
    lesions and ignored ones; `detected` is `iou >= DETECTION_IOU`.
    """

    instance: int
    volume_mm3: float
    diameter_mm: float
    detected: bool
    iou: float
    dice: float


def lesions(
    prediction: NDArray[Any], reference_instances: NDArray[Any], spacing_mm: Sequence[float]
) -> list[Lesion]:
    """Return detection and overlap of every reference lesion, in ascending order of its value.

    Raises:
        ValueError: The shapes differ.
    """
    labels, table = component_overlap(prediction, reference_instances)
    voxel_mm3 = float(np.prod(spacing_mm))
    scores = []
    for label, row in zip(labels, table, strict=True):
        if label in (0, IGNORE):
            continue
        size, hits = int(row.sum()), int(row[1:].sum())
        # Background voxels of the touching components: those on another lesion are true positives,
        # and the class of ignored ones is unknown.
        spill = int(table[0, 1:][row[1:] > 0].sum())
        volume_mm3 = size * voxel_mm3
        iou = hits / (size + spill)
        scores.append(
            Lesion(
                instance=int(label),
                volume_mm3=volume_mm3,
                diameter_mm=(6 * volume_mm3 / math.pi) ** (1 / 3),
                detected=iou >= DETECTION_IOU,
                iou=iou,
                dice=2 * hits / (size + hits + spill),
            )
        )
    return scores


def foreground(prediction: NDArray[Any], reference: NDArray[Any]) -> tuple[Mask, Mask]:
    """Return prediction and reference as booleans, both False on ignored voxels.

    Raises:
        ValueError: The shapes differ.
    """
    if prediction.shape != reference.shape:
        msg = f"prediction and reference differ in shape: {prediction.shape}, {reference.shape}"
        raise ValueError(msg)
    counted = reference != IGNORE
    return (prediction != 0) & counted, (reference != 0) & counted


def _surface_input(p: Mask, r: Mask) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both masks `(1, 1, x, y, z)`, cropped to their common bounding box for speed."""
    box = ndimage.find_objects((p | r).astype(np.uint8))[0]
    return torch.from_numpy(p[box].copy())[None, None], torch.from_numpy(r[box].copy())[None, None]
