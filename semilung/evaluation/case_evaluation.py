"""Evaluation of a case's mask, and the tables of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.data.cache.prepared_case import PreparedCase
from semilung.evaluation.false_positive_metrics import false_positives
from semilung.evaluation.metrics import SEGMENTATION, Metric
from semilung.evaluation.segmentation import dice, foreground, hd95_mm, surface_dice
from semilung.types import IGNORE

TOLERANCE_MM = 2.0
"""Tolerance of the surface Dice: about the slice thickness of a thin-section chest CT."""


@dataclass(frozen=True)
class Report:
    """An evaluation: one row per case, and one row per reference lesion.

    Attributes:
        cases: `case`, `cohort` and `role`, then the columns of each task; NaN means undefined. The
            reference volume is undefined where every marked voxel is ignored (255): such a scan may
            or may not contain a nodule, so it counts neither as positive nor as healthy.
        lesions: `case`, `cohort` and the columns of each task; empty if no task has any.
        metrics: Rows of the table of metrics whose means the summary shows.
        findings: `case` and the columns of each task, a row for each predicted finding; empty if no
            task has any.
    """

    cases: pd.DataFrame
    lesions: pd.DataFrame
    metrics: tuple[Metric, ...] = SEGMENTATION
    findings: pd.DataFrame = field(default_factory=pd.DataFrame)


def compare(
    prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: Sequence[float]
) -> dict[str, float]:
    """Return the metrics of one case's mask, by their column in a report.

    Args:
        prediction: `(X, Y, Z)`, foreground where it is not 0.
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions, 255 ignore.
        spacing_mm: Voxel size along X, Y, Z.

    Raises:
        ValueError: The shapes differ.
    """
    p, r = foreground(prediction, reference)
    voxel_mm3 = float(np.prod(spacing_mm))
    false = false_positives(prediction, spacing_mm, reference)
    undefined = not r.any() and bool((reference == IGNORE).any())
    return {
        "dice": dice(prediction, reference),
        "hd95_mm": hd95_mm(prediction, reference, spacing_mm),
        "surface_dice_2mm": surface_dice(prediction, reference, spacing_mm, TOLERANCE_MM),
        "reference_volume_mm3": math.nan if undefined else np.count_nonzero(r) * voxel_mm3,
        "predicted_volume_mm3": np.count_nonzero(p) * voxel_mm3,
        "fp_components": false.components,
        "fp_volume_mm3": false.volume_mm3,
    }


def read_reference(prepared: PreparedCase) -> NDArray[Any]:
    """Return the reference mask `(X, Y, Z)`; that of a healthy case is empty and has no file."""
    if prepared.case.role == "healthy":
        return np.zeros(prepared.shape, np.uint8)
    return prepared.read("mask")
