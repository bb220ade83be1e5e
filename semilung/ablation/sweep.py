"""`semilung ablate`: check every run before the first, hand the unfinished ones to a launcher."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from semilung.ablation.cells import HEALTHY, Cell, cells_of
from semilung.ablation.equal_compute import equal_compute
from semilung.ablation.launchers import default_settings, launch, one_by_one, read_launcher
from semilung.ablation.preflight import check_cells, has_healthy
from semilung.ablation.sweep_folder import SweepFolder
from semilung.ablation.sweep_job import Job
from semilung.ablation.sweep_request import Request, read_request
from semilung.ablation.sweep_table import show
from semilung.api.default_cohort import with_default_manifest
from semilung.config.compose import Composer
from semilung.config.hydra_adapter import DictConfig, LauncherSession, open_launchers
from semilung.config.schema import to_training, with_absolute_paths
from semilung.runs import TrainConfig
from semilung.types import UserError


class FailedRunsError(UserError):
    """Some runs have no result; the others have theirs."""


def ablate(settings: Sequence[str], *, config_dir: Path | None = None) -> Path:
    """Run what is not finished of an ablation, and print the table of all its results.

    Args:
        settings: `key=value,value` words as of `semilung ablate`, such as `seed=0,1,2`.
        config_dir: Folder of further configs, of strategies from elsewhere.

    Returns:
        The sweep's folder.

    Raises:
        UserError: A setting, a split or the folder is invalid; nothing has run then.
        FailedRunsError: Some runs failed or were lost.
        KeyboardInterrupt: It was interrupted; the table of what is finished is written.
    """
    began = time.time()
    composer = Composer(config_dir)
    request = read_request(settings, tree=composer.tree)
    sweep = SweepFolder(request.folder.resolve())
    request = sweep.joined(request)
    with open_launchers("semilung ablate", "pkg://semilung.configs") as session:
        master = read_launcher(session, request, sweep.path)
        cells, configs = _cells(composer, request, sweep, default_settings(master))
        waiting = {cell.name: cell for cell in cells if not sweep.finished(cell)}
        before = len(cells) - len(waiting)
        print(f"{len(cells)} runs, {before} finished before: {sweep.path}", flush=True)  # noqa: T201
        alone = one_by_one(master)
        job = Job(
            sweep.path, waiting, request.swept, request.split, len(cells), not alone, began, configs
        )
        lost = _launched(session, master, job, sweep) if waiting else None
    _report(sweep, request, cells, lost)
    return sweep.path


def _cells(
    composer: Composer, request: Request, sweep: SweepFolder, default: Sequence[str]
) -> tuple[list[Cell], dict[str, TrainConfig]]:
    """Return all runs, checked, and their configs by name; the sweep's folder is begun."""

    def config_of(words: Sequence[str]) -> TrainConfig:
        return with_default_manifest(with_absolute_paths(to_training(composer.command(words))))

    some = {cell.axes.get(HEALTHY): cell for cell in cells_of(request, healthy=False)}.values()
    healthy = has_healthy([config_of(cell.overrides) for cell in some])
    cells = cells_of(request, healthy=healthy)
    configs = {cell.name: config_of([*default, *cell.overrides]) for cell in cells}
    check_cells(request, cells, configs, sweep)
    sweep.begin(request)
    if request.equal == "compute":
        cells = equal_compute(cells, configs, sweep)
        configs = {cell.name: config_of([*default, *cell.words]) for cell in cells}
    return cells, configs


def _launched(
    session: LauncherSession, master: DictConfig, job: Job, sweep: SweepFolder
) -> str | None:
    """Launch the job's cells; return the error of the launcher itself."""
    try:
        launch(session, master, job)
    except UserError:
        raise
    except Exception as error:
        return " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])
    finally:
        sweep.collect()
    return None


def _report(sweep: SweepFolder, request: Request, cells: Sequence[Cell], lost: str | None) -> None:
    """Print the table.

    Raises:
        FailedRunsError: Some runs have no result.
    """
    results, failures = sweep.collect()
    finished = [cell.name for cell in cells if sweep.finished(cell)]
    lacking = [cell.name for cell in cells if cell.name not in finished]
    if finished:
        show(results.set_index("run").loc[finished], request.swept, request.split)
    if not lacking:
        return
    why = dict(zip(failures["run"], failures["message"], strict=True))
    unknown = f"lost: {lost}" if lost else "unfinished: another process may be at it"
    lines = "".join(f"  {name}: {why.get(name, unknown)}\n" for name in lacking)
    raise FailedRunsError(
        f"{len(lacking)} of {len(cells)} runs have no result:\n{lines}the same command tries them "
        f"again; the others are in {sweep.path}"
    )
