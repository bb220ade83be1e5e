"""`semilung ablate`: check every run before the first, hand the unfinished ones to a launcher."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from semilung.ablation.cells import Cell, cells_of
from semilung.ablation.compute import equal_compute
from semilung.ablation.folder import SweepFolder
from semilung.ablation.job import Job
from semilung.ablation.request import Request, read_request
from semilung.config import register_schema, to_command, to_training, with_absolute_paths
from semilung.data import open_cohort
from semilung.training import TrainConfig
from semilung.types import UserError


def ablate(words: Sequence[str], *, config_dir: Path | None = None) -> Path:
    """Run what is not finished of an ablation, and show what all of it found.

    Args:
        words: The command line, see `read_request`.
        config_dir: Folder of further configs, of strategies from elsewhere.

    Returns:
        The sweep's folder.

    Raises:
        UserError: A setting, a split or the folder is at fault (nothing has run then), or some runs
            failed (the others have their rows).
    """
    request = read_request(words)
    with _hydra(config_dir) as hydra:
        first = cells_of(request, healthy=False)[0]
        healthy = _has_healthy(_compose(hydra, first.overrides))
        cells = cells_of(request, healthy=healthy)
        configs = {cell.name: _compose(hydra, cell.overrides) for cell in cells}
        _require_same_cases(request, cells, configs)
        sweep = SweepFolder(request.folder.resolve())
        kept = sweep.begin(request)
        if request.equal == "compute":
            cells = equal_compute(cells, configs, sweep, kept)
        waiting = {cell.name: cell for cell in cells if not sweep.finished(cell)}
        before = len(cells) - len(waiting)
        print(f"{len(cells)} runs, {before} finished before: {sweep.path}")  # noqa: T201
        try:
            if waiting:
                _launch(hydra, request, sweep, waiting)
        finally:
            results, failures = sweep.collect()
    _show(results, cells, request)
    lacking = [cell.name for cell in cells if not sweep.finished(cell)]
    if lacking:
        told = "".join(f"  {row.run}: {row.message}\n" for row in failures.itertuples())
        msg = f"{len(lacking)} of {len(cells)} runs have no result:\n{told}"
        raise UserError(f"{msg}the same command tries them again; the others are in {sweep.path}")
    return sweep.path


@contextmanager
def _hydra(config_dir: Path | None) -> Iterator[Hydra]:
    """Hydra over semilung's configs; of its internals, which `hydra-core<1.4` keeps."""
    register_schema()
    search_path = create_config_search_path("pkg://semilung.configs")
    if config_dir is not None:
        search_path.append("command-line", f"file://{config_dir.resolve()}")
    try:
        yield Hydra.create_main_hydra2("semilung ablate", search_path)
    finally:
        GlobalHydra.instance().clear()


def _compose(hydra: Hydra, overrides: Sequence[str]) -> TrainConfig:
    """A run's config, checked as `semilung train` would."""
    try:
        composed = hydra.compose_config("train", list(overrides), RunMode.RUN)
        return with_absolute_paths(to_training(to_command(_without_hydra(composed))), None)
    except (HydraException, OmegaConfBaseException) as error:
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = [str(error.__cause__).splitlines()[0]] if error.__cause__ else []
        raise UserError("\n  ".join([*told[:2], *cause])) from error


def _without_hydra(composed: DictConfig) -> DictConfig:
    plain = copy.deepcopy(composed)
    plain._set_flag("struct", False)
    plain.pop("hydra", None)
    return plain


def _has_healthy(config: TrainConfig) -> bool:
    return "healthy" in open_cohort(config.data, seed=config.seed).available


def _require_same_cases(
    request: Request, cells: Sequence[Cell], configs: dict[str, TrainConfig]
) -> None:
    """Refuse arms and seeds that would be judged on different cases.

    Raises:
        UserError: They would be, or on none; or a manifest is at fault, as where a patient is in
            two splits.
    """
    judged: dict[tuple[tuple[str, str], ...], tuple[str, frozenset[str]]] = {}
    for cell in cells:
        config = configs[cell.name]
        cohort = open_cohort(config.data, seed=config.seed)
        roles = ("labelled", "healthy")
        cases = frozenset(
            c.case for c in cohort.cases if c.split == request.split and c.role in roles
        )
        if not cases:
            msg = f"the {request.split} split of {config.data.manifest} holds no case to judge on"
            raise UserError(f"{msg}; give it labelled or healthy ones, or choose another split")
        # folds differ in their cases by design; what is trained on does not matter here
        group = tuple((k, v) for k, v in cell.axes.items() if k in ("data.fold", "data.manifest"))
        first, expected = judged.setdefault(group, (cell.name, cases))
        if cases != expected:
            some = ", ".join(sorted(cases ^ expected)[:5])
            msg = f"{cell.name} and {first} would be judged on different cases ({some} ...)"
            raise UserError(f"{msg}; give all runs the same splits (data.split_seed, data.folds)")


def _launch(hydra: Hydra, request: Request, sweep: SweepFolder, waiting: dict[str, Cell]) -> None:
    """Let Hydra's launcher run the cells: one after another, in parallel, or on a cluster."""
    folder = str(sweep.path).replace("\\", "\\\\").replace("'", "\\'")
    own = [f"hydra.sweep.dir='{folder}'", "hydra.sweep.subdir=."]
    try:
        master = hydra.compose_config("train", [*own, *request.hydra], RunMode.MULTIRUN)
    except HydraException as error:
        first = str(error).splitlines()[0]
        msg = f"{first} Launchers other than the default are extras: pip install"
        raise UserError(f"{msg} 'semilung[parallel]' or 'semilung[cluster]'") from error
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks()),
        task_function=Job(sweep.path, waiting, request.swept, request.split),
        config=master,
    )
    jobs = [[*cell.overrides, f"run_name='{name}'"] for name, cell in waiting.items()]
    launcher.launch(jobs, initial_job_idx=0)


def _show(results: pd.DataFrame, cells: Sequence[Cell], request: Request) -> None:
    """The means over seeds of every arm, and what all of it has cost."""
    mine = results[results["run"].isin([cell.name for cell in cells])] if len(results) else results
    if mine.empty:
        return
    swept = [key for key in request.swept if key in mine]
    shown = ["dice", "healthy_fp_volume_mm3", "healthy_fp_components", "steps", "seconds"]
    shown = [name for name in shown if name in mine]
    grouped = mine.fillna(dict.fromkeys(swept, "-")).groupby(["arm", *swept], sort=False)
    table = Table("arm", *swept, "seeds", *shown, box=None, pad_edge=False)
    for keys, rows in grouped:
        named: list[Any] = list(keys) if isinstance(keys, tuple) else [keys]
        means = [f"{rows[name].mean():.3g}" for name in shown]
        table.add_row(*map(str, named), str(rows["seed"].nunique()), *means)
    console = Console()
    console.width = console.width if console.is_terminal else 160
    console.print(table, markup=False)
    hours = mine["seconds"].sum() / 3600
    console.print(f"all {len(mine)} trainings took {hours:.2f} hours; judged on {request.split}")
