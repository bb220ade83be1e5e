"""Validation during a training: Dice, false positives and one overlay."""

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
"""The metric that picks `best.pt`: the mean per-case Dice of validation cases with nodules."""


@dataclass(frozen=True)
class _Scores:
    """Metrics of one case: the Dice, or the false positives of a healthy scan."""

    dice: float = math.nan
    components: float = math.nan
    volume_mm3: float = math.nan
    picture: np.ndarray | None = None


def validate(
    net: nn.Module, cases: Sequence[PreparedCase], config: TrainConfig, team: Team
) -> tuple[dict[str, float], np.ndarray | None]:
    """Return mean Dice of labelled cases, false positives of healthy ones, and one overlay.

    Each process evaluates a share of the cases; all get the same metrics, whatever their number.

    Returns:
        Metrics under `val/`, NaN where there is no case to evaluate, and an RGB picture of the
        first labelled case `(H, W, 3)`, or None where there is none.
    """
    shown = next((i for i, case in enumerate(cases) if case.case.role == "labelled"), None)
    share = range(team.rank, len(cases), team.size)
    with team.agreeing():
        local = {i: _evaluate(net, cases[i], config, pictured=i == shown) for i in share}
    every = {i: case for each in team.gather(local) for i, case in each.items()}
    scores = [every[i] for i in range(len(cases))]
    metrics = {
        SCORE: _mean([case.dice for case in scores]),
        "val/healthy_fp_components": _mean([case.components for case in scores]),
        "val/healthy_fp_mm3": _mean([case.volume_mm3 for case in scores]),
    }
    return metrics, None if shown is None else scores[shown].picture


def _evaluate(
    net: nn.Module, case: PreparedCase, config: TrainConfig, *, pictured: bool
) -> _Scores:
    mask = Predictor([net], config.inference, config.data).segment(case)
    if case.case.role == "healthy":
        alarm = false_positives(mask, case.spacing_mm)
        return _Scores(components=alarm.components, volume_mm3=alarm.volume_mm3)
    reference = case.read("mask")
    picture = None
    if pictured:
        picture = overlay_planes(
            case.read("image"),
            reference=reference,
            prediction=mask,
            window_hu=config.data.window_hu,
        )
    return _Scores(dice(mask, reference), picture=picture)


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
