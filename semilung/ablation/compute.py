"""The same training time for all arms, instead of the same steps."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from semilung.ablation.cells import BASELINE, Cell
from semilung.ablation.folder import SweepFolder
from semilung.training import TrainConfig, train
from semilung.types import UserError

STEPS = 12
"""Steps that are timed; the median leaves out the first ones and what disturbs one or two."""


def equal_compute(
    cells: Sequence[Cell], configs: dict[str, TrainConfig], sweep: SweepFolder, kept: dict[str, Any]
) -> list[Cell]:
    """The cells with as many steps as take the time of the supervised arm's.

    A step of each arm is timed once, by a training of a few steps whose run is thrown away, and
    the seconds are kept in `sweep.yaml`, so that an ablation that goes on keeps its steps.

    Raises:
        UserError: There is no supervised arm to compare with.
    """
    if BASELINE not in {cell.arm for cell in cells}:
        msg = "equal=compute measures arms against the arm 'supervised', which is not there"
        raise UserError(f"{msg}; name it, or leave baselines=true")
    seconds: dict[str, float] = kept.setdefault("step_seconds", {})
    for cell in cells:
        if _timed(cell) not in seconds:
            seconds[_timed(cell)] = _step_seconds(configs[cell.name])
            sweep.write(kept)
    return [_scaled(cell, configs[cell.name].trainer.max_steps, seconds) for cell in cells]


def _scaled(cell: Cell, base: int, seconds: dict[str, float]) -> Cell:
    axes = {k: v for k, v in cell.axes.items() if not k.startswith("strategies.")}
    reference = seconds[_timed(replace(cell, arm=BASELINE, axes=axes))]
    steps = max(1, round(base * reference / seconds[_timed(cell)]))
    return replace(cell, overrides=[*cell.overrides, f"trainer.max_steps={steps}"])


def _timed(cell: Cell) -> str:
    """What a step's time depends on: the arm and the swept settings, and not the seed."""
    return " ".join([cell.arm, *(f"{k}={v}" for k, v in cell.axes.items())])


def _step_seconds(config: TrainConfig) -> float:
    trainer = replace(
        config.trainer, max_steps=STEPS, log_every=1, validate_every=0, checkpoint_every=STEPS
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "timed"
        train(replace(config, trainer=trainer), run)
        metrics = pd.read_csv(run / "metrics.csv")
    return float(median(metrics.loc[metrics["name"] == "time/step_s", "value"]))
