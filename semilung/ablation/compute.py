"""The same training time for all arms, instead of the same steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from semilung.ablation.cells import Cell
from semilung.ablation.folder import SweepFolder
from semilung.naming import BASELINE
from semilung.training import TrainConfig, step_seconds
from semilung.types import UserError


def equal_compute(
    cells: Sequence[Cell],
    configs: Mapping[str, TrainConfig],
    sweep: SweepFolder,
    kept: dict[str, Any],
) -> list[Cell]:
    """The cells with as many steps as take the time of the supervised arm's.

    A step of each arm is timed once, in a short training that is thrown away, and the seconds are
    kept in `sweep.yaml`, so that an ablation that goes on keeps its steps.

    Raises:
        UserError: There is no supervised arm to compare with.
    """
    if BASELINE not in {cell.arm for cell in cells}:
        msg = "equal=compute measures arms against the arm 'supervised', which is not there"
        raise UserError(f"{msg}; name it, or leave baselines=true")
    seconds: dict[str, float] = kept.setdefault("step_seconds", {})
    for cell in cells:
        if _timed(cell) not in seconds:
            print(f"timing a step of {_timed(cell)}", flush=True)  # noqa: T201
            seconds[_timed(cell)] = step_seconds(configs[cell.name])
            sweep.write(kept)
    return [_scaled(cell, configs[cell.name].trainer.max_steps, seconds) for cell in cells]


def _scaled(cell: Cell, base: int, seconds: dict[str, float]) -> Cell:
    axes = {k: v for k, v in cell.axes.items() if not k.startswith("strategies.")}
    reference = seconds[_timed(replace(cell, arm=BASELINE, axes=axes))]
    steps = max(1, round(base * reference / seconds[_timed(cell)]))
    return replace(cell, steps=steps)


def _timed(cell: Cell) -> str:
    """What a step's time depends on: the arm and the swept settings, and not the seed."""
    return " ".join([cell.arm, *(f"{k}={v}" for k, v in cell.axes.items())])
