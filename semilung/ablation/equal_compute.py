"""The same training time for all arms, instead of the same steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from semilung.ablation.cells import Cell, strategy_of
from semilung.ablation.sweep_folder import SweepFolder
from semilung.arm_names import BASELINE, NO_HEALTHY
from semilung.runs import TrainConfig
from semilung.tasks import base_strategies
from semilung.training import step_seconds
from semilung.types import UserError


def equal_compute(
    cells: Sequence[Cell], configs: Mapping[str, TrainConfig], sweep: SweepFolder
) -> list[Cell]:
    """Return the cells with as many steps as take the time of the supervised arm's.

    A step of each arm is timed once, in a short training that is thrown away, and the seconds are
    kept in `sweep.yaml`, so that an ablation that goes on keeps its steps.

    Raises:
        UserError: There is no supervised arm to compare with.
    """
    timed = {cell.name: _timed(cell, configs[cell.name]) for cell in cells}
    references = {cell.name: _reference(cell, configs[cell.name], timed.values()) for cell in cells}
    seconds: dict[str, float] = sweep.request().get("step_seconds", {})
    for name, what in timed.items():
        if what not in seconds:
            print(f"timing a step of {what}", flush=True)  # noqa: T201
            seconds[what] = step_seconds(configs[name])
            # read anew: another call may have widened the sweep meanwhile
            sweep.write({**sweep.request(), "step_seconds": seconds})
    scaled = []
    for cell in cells:
        share = seconds[references[cell.name]] / seconds[timed[cell.name]]
        steps = max(1, round(configs[cell.name].trainer.max_steps * share))
        scaled.append(replace(cell, steps=steps))
    return scaled


def _reference(cell: Cell, config: TrainConfig, timed: Iterable[str]) -> str:
    """Return the supervised run of the cell's setting, with healthy scans where there are any.

    Raises:
        UserError: There is none.
    """
    shared = (None, *base_strategies())
    axes = {key: value for key, value in cell.axes.items() if strategy_of(key) in shared}
    for arm in (BASELINE, NO_HEALTHY):
        if (wanted := _timed(replace(cell, arm=arm, axes=axes), config)) in timed:
            return wanted
    raise UserError(
        f"equal=compute compares {cell.arm} with the arm {BASELINE!r} of its setting, which is "
        f"missing; name it, or leave baselines=true"
    )


def _timed(cell: Cell, config: TrainConfig) -> str:
    """What a step's time depends on: arm, swept settings and machine, and not the seed."""
    axes = [f"{key}={value}" for key, value in sorted(cell.axes.items())]
    machine = [f"threads={config.trainer.threads}", f"devices={config.trainer.devices}"]
    return " ".join([cell.arm, *axes, *machine])
