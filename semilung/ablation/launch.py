"""Handing runs to one of Hydra's launchers: one after another, in parallel, or on a cluster."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from semilung.ablation.job import Job
from semilung.ablation.request import Request
from semilung.config import model_words, told_by_hydra
from semilung.types import UserError

EXTRAS = {"joblib": "parallel", "parallel": "parallel", "submitit": "cluster", "slurm": "cluster"}
"""Word in a launcher's name to the extra that brings it."""


def read_launcher(hydra: Hydra, request: Request, folder: Path) -> DictConfig:
    """Hydra's own config for the chosen launcher.

    Raises:
        UserError: No such launcher, or its extra is not installed.
    """
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    own = [f"hydra.sweep.dir='{quoted}'", "hydra.sweep.subdir=."]
    try:
        return hydra.compose_config("train", [*own, *request.hydra], RunMode.MULTIRUN)
    except HydraException as error:
        asked = " ".join(request.hydra)
        extra = next((extra for word, extra in EXTRAS.items() if word in asked), None)
        hint = f"\nIt needs an extra: pip install 'semilung[{extra}]'" if extra else ""
        raise UserError(f"{told_by_hydra(error)}{hint}") from error


def one_by_one(master: DictConfig) -> bool:
    """Whether the launcher runs in this process, one run after another."""
    return str(master.hydra.launcher._target_).endswith(".BasicLauncher")


def defaults(master: DictConfig) -> list[str]:
    """What the launcher has runs told: with others beside them, not to take all processors."""
    if one_by_one(master):
        return []
    given = OmegaConf.select(master, "hydra.launcher.cpus_per_task")
    return [f"trainer.threads={given or 1}"]


def launch(hydra: Hydra, master: DictConfig, job: Job) -> None:
    """Run a job's cells; those that fail, or whose process is lost, have no row afterwards.

    Raises:
        UserError: The launcher is not to be had.
        KeyboardInterrupt: It was interrupted.
    """
    launcher = _launcher(hydra, master, job)
    told = [
        [*defaults(master), *model_words(cell.words), f"run_name='{name}'"]
        for name, cell in job.cells.items()
    ]
    launcher.launch(told, initial_job_idx=0)


def _launcher(hydra: Hydra, master: DictConfig, job: Job) -> Launcher:
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
    try:
        launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=job, config=master
        )
    except (ImportError, RuntimeError) as error:  # a plugin that is not there, or none at all
        raise UserError(f"the launcher cannot be had: {error}") from error
    return launcher
