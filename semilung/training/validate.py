"""The validation within a training: enough to select by, quick enough to repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from semilung.data import PreparedCase
from semilung.evaluation import dice, false_positives, overlay_planes
from semilung.inference import Predictor
from semilung.runs.train_config import TrainConfig
from semilung.training.ranks import Team

SCORE = "val/dice"
"""The figure that picks `best.pt`: the mean per-case Dice of validation cases with nodules."""


@dataclass(frozen=True)
class _Judged:
    """What a prediction of one case is worth: a Dice, or what it finds in a healthy scan."""

    dice: float = math.nan
    components: float = math.nan
    volume_mm3: float = math.nan
    picture: np.ndarray | None = None


def validate(
    net: nn.Module, cases: Sequence[PreparedCase], config: TrainConfig, team: Team
) -> tuple[dict[str, float], np.ndarray | None]:
    """Mean Dice of labelled cases, false positives of healthy ones, and one overlay.

    Each process judges a share of the cases; all get the same figures, whatever their number.

    Returns:
        Figures under `val/`, NaN where there is no case to judge by, and an RGB picture of the
        first labelled case `(H, W, 3)`, or None where there is none.
    """
    shown = next((i for i, case in enumerate(cases) if case.case.role == "labelled"), None)
    own = range(team.rank, len(cases), team.size)
    with team.agreeing():
        found = {i: _judge(net, cases[i], config, pictured=i == shown) for i in own}
    every = {i: judged for each in team.gather(found) for i, judged in each.items()}
    judged = [every[i] for i in range(len(cases))]
    figures = {
        SCORE: _mean([case.dice for case in judged]),
        "val/healthy_fp_components": _mean([case.components for case in judged]),
        "val/healthy_fp_mm3": _mean([case.volume_mm3 for case in judged]),
    }
    return figures, None if shown is None else judged[shown].picture


def _judge(net: nn.Module, case: PreparedCase, config: TrainConfig, *, pictured: bool) -> _Judged:
    mask = Predictor([net], config.inference, config.data).segment(case)
    if case.case.role == "healthy":
        alarm = false_positives(mask, case.spacing_mm)
        return _Judged(components=alarm.components, volume_mm3=alarm.volume_mm3)
    reference = case.read("mask")
    picture = None
    if pictured:
        picture = overlay_planes(
            case.read("image"),
            reference=reference,
            prediction=mask,
            window_hu=config.data.window_hu,
        )
    return _Judged(dice(mask, reference), picture=picture)


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
