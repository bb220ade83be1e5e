"""What is refused before the first training: runs that could not train, or not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from semilung.ablation.cells import Cell
from semilung.ablation.sweep_folder import SweepFolder
from semilung.ablation.sweep_request import Request
from semilung.config.schema import differences, load_run_config
from semilung.data import Cohort, open_cohort
from semilung.training import TrainConfig, build_learner
from semilung.training.run import RunFolder
from semilung.types import UserError

DIFFERENT_BY_DESIGN = ("data.fold", "data.manifest")
"""Swept settings whose values are judged on different cases."""

Group = tuple[tuple[str, str], ...]
Judged = tuple[str, frozenset[str]]
"""The first run of a group, and the cases that it is judged on."""


def check_cells(
    request: Request, cells: Sequence[Cell], configs: Mapping[str, TrainConfig], sweep: SweepFolder
) -> None:
    """Refuse cells that cannot be trained or would be judged on different cases.

    Runs that are there already are held against what their manifest and configs say now.

    Args:
        request: What was asked for.
        cells: All runs.
        configs: Run name to its config.
        sweep: Where they are kept.

    Raises:
        UserError: They would be, or on none; a run's strategies or model are at fault; or a
            manifest is, as where a patient is in two splits.
    """
    judged: dict[Group, Judged] = {}
    for cell in cells:
        config = configs[cell.name]
        cohort = open_cohort(config.data, seed=config.seed)
        cases = frozenset(case.case for case in cohort.evaluated(request.split))
        if not cases:
            msg = f"the {request.split} split of {config.data.manifest} holds no case to judge on"
            raise UserError(f"{msg}; give it labelled or healthy ones, or choose another split")
        _require_same(judged, cell, cases)
        _require_as_begun(RunFolder(sweep.run(cell)), config, cohort, request.equal)
        if not sweep.finished(cell):
            try:
                build_learner(config).views(cohort.available)
            except UserError as error:
                raise UserError(f"{cell.name} cannot be trained: {error}") from error


def has_healthy(configs: Sequence[TrainConfig]) -> bool:
    """Whether some run would learn from healthy scans."""
    return any("healthy" in open_cohort(c.data, seed=c.seed).available for c in configs)


def _require_same(judged: dict[Group, Judged], cell: Cell, cases: frozenset[str]) -> None:
    """Refuse arms, seeds and budgets that would be judged on different cases."""
    group = tuple((k, v) for k, v in cell.axes.items() if k in DIFFERENT_BY_DESIGN)
    first, expected = judged.setdefault(group, (cell.name, cases))
    if cases != expected:
        some = ", ".join(sorted(cases ^ expected)[:5])
        msg = f"{cell.name} and {first} would be judged on different cases ({some} ...)"
        raise UserError(f"{msg}; give all runs the same splits (data.split_seed, data.folds)")


def _require_as_begun(run: RunFolder, config: TrainConfig, cohort: Cohort, equal: str) -> None:
    """Refuse to stand beside a run, or to go on with one, that was trained or split otherwise."""
    if not run.config.exists():
        return
    run.require_same_splits(cohort.splits)
    begun = load_run_config(run.path)
    if equal == "compute":  # its steps are for the timing to say
        steps = replace(config.trainer, max_steps=begun.trainer.max_steps)
        config = replace(config, trainer=steps)
    if differing := differences(begun, config):
        msg = f"{run.path} was trained with other settings: {'; '.join(differing[:5])}"
        raise UserError(f"{msg}. Restore them, or name another sweep_dir=...")
