"""The validation within a training: enough to select by, quick enough to repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import nn

from semilung.data import PreparedCase
from semilung.evaluation import dice, false_positives, overlay_planes
from semilung.inference import segment
from semilung.training.config import TrainConfig

SCORE = "val/dice"
"""The figure that picks `best.pt`: the mean per-case Dice of validation cases with nodules."""


def validate(
    net: nn.Module, cases: Sequence[PreparedCase], config: TrainConfig
) -> tuple[dict[str, float], np.ndarray | None]:
    """Mean Dice of labelled cases, false positives of healthy ones, and one overlay.

    Returns:
        Figures under `val/`, NaN where there is no case to judge by, and an RGB picture of the
        first labelled case `(H, W, 3)`, or None where there is none.
    """
    window_hu = config.data.window_hu
    scores: list[float] = []
    alarms: list[tuple[int, float]] = []
    picture: np.ndarray | None = None
    for case in cases:
        hu = case.read("image")
        mask = segment(
            net,
            hu,
            config.inference,
            window_hu=window_hu,
            spacing_mm=case.spacing_mm,
            lungs=case.lungs,
        )
        if case.case.role == "healthy":
            found = false_positives(mask, case.spacing_mm)
            alarms.append((found.components, found.volume_mm3))
        elif case.case.role == "labelled":
            reference = case.read("mask")
            scores.append(dice(mask, reference))
            if picture is None:
                picture = overlay_planes(
                    hu, reference=reference, prediction=mask, window_hu=window_hu
                )
    figures = {
        SCORE: _mean(scores),
        "val/healthy_fp_components": _mean([float(n) for n, _ in alarms]),
        "val/healthy_fp_mm3": _mean([volume for _, volume in alarms]),
    }
    return figures, picture


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
