"""Checks before the first training: runs that could not train, or not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from semilung.ablation.cells import Cell
from semilung.ablation.sweep_folder import SweepFolder
from semilung.ablation.sweep_request import Request
from semilung.config.resume import differences
from semilung.data import Cohort, open_cohort
from semilung.runs import RunFolder, TrainConfig, load_run_config
from semilung.tasks import build_tasks, is_evaluated
from semilung.training import build_learner
from semilung.types import UserError

DIFFERENT_BY_DESIGN = ("data.fold", "data.manifest")
"""Swept settings whose values are evaluated on different cases."""

Group = tuple[tuple[str, str], ...]
Evaluated = tuple[str, frozenset[str]]
"""The first run of a group, and the cases that it is evaluated on."""


def check_cells(
    request: Request, cells: Sequence[Cell], configs: Mapping[str, TrainConfig], sweep: SweepFolder
) -> None:
    """Raise UserError for cells that cannot be trained or compared.

    Runs that exist already are compared with their manifest and configs as they are now.

    Args:
        request: The requested ablation.
        cells: All runs.
        configs: Run name to its config.
        sweep: Their folder.

    Raises:
        UserError: Cells would be evaluated on different cases, or on none; a run's strategies,
            model or manifest are invalid, as where a patient is in two splits.
    """
    evaluated: dict[Group, Evaluated] = {}
    for cell in cells:
        config = configs[cell.name]
        cohort = open_cohort(config.data, seed=config.seed)
        evaluable = partial(is_evaluated, build_tasks(config.tasks).values())
        cases = frozenset(case.case for case in cohort.evaluated(request.split, evaluable))
        if not cases:
            raise UserError(
                f"the {request.split} split of {config.data.manifest} holds no case to evaluate "
                f"on; give it labelled or healthy ones, or choose another split"
            )
        _require_same(evaluated, cell, cases)
        _require_as_begun(RunFolder(sweep.run(cell)), config, cohort, request.equal)
        if not sweep.finished(cell):
            try:
                build_learner(config).views(cohort.available)
            except UserError as error:
                raise UserError(f"{cell.name} cannot be trained: {error}") from error


def has_healthy(configs: Sequence[TrainConfig]) -> bool:
    """Whether some run would learn from healthy scans."""
    return any("healthy" in open_cohort(c.data, seed=c.seed).available for c in configs)


def _require_same(evaluated: dict[Group, Evaluated], cell: Cell, cases: frozenset[str]) -> None:
    """Raise UserError for arms, seeds and budgets evaluated on different cases."""
    group = tuple((k, v) for k, v in cell.axes.items() if k in DIFFERENT_BY_DESIGN)
    first, expected = evaluated.setdefault(group, (cell.name, cases))
    if cases != expected:
        some = ", ".join(sorted(cases ^ expected)[:5])
        raise UserError(
            f"{cell.name} and {first} would be evaluated on different cases ({some} ...); give all "
            f"runs the same splits (data.split_seed, data.folds)"
        )


def _require_as_begun(run: RunFolder, config: TrainConfig, cohort: Cohort, equal: str) -> None:
    """Raise UserError where a run exists that was trained or split otherwise."""
    if not run.config.exists():
        return
    run.require_same_splits(cohort.splits)
    begun = load_run_config(run.path)
    if equal == "compute":  # its steps are for the timing to say
        steps = replace(config.trainer, max_steps=begun.trainer.max_steps)
        config = replace(config, trainer=steps)
    if differing := differences(begun, config):
        raise UserError(
            f"{run.path} was trained with other settings: {'; '.join(differing[:5])}. Restore "
            f"them, or name another sweep_dir=..."
        )
