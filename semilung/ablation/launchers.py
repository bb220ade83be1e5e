"""Handing runs to one of Hydra's launchers: one after another, in parallel, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from semilung.ablation.sweep_job import Job
from semilung.ablation.sweep_request import Request
from semilung.config.compose import quoted, read_overrides
from semilung.types import UserError

LAUNCHERS = ("basic", "parallel", "slurm", "slurm_local")

SETTINGS = (
    *("n_jobs", "verbose", "timeout_min", "signal_delay_s", "max_num_timeout", "nodes"),
    *("tasks_per_node", "cpus_per_task", "gpus_per_node", "gpus_per_task", "cpus_per_gpu"),
    *("mem_gb", "mem_per_gpu", "mem_per_cpu", "array_parallelism", "partition", "account", "qos"),
    *("constraint", "exclude", "gres", "comment", "name", "stderr_to_stdout"),
)
"""Settings of launchers that may be given: values alone, none that runs or moves anything."""

EXTRAS = {"parallel": "parallel", "slurm": "cluster"}
"""Word in a launcher's name to the extra that brings it."""


@contextmanager
def open_hydra() -> Iterator[Hydra]:
    """Hydra over our package alone; of its internals, which `hydra-core<1.4` keeps."""
    try:
        yield Hydra.create_main_hydra2(
            "semilung ablate", create_config_search_path("pkg://semilung.configs")
        )
    finally:
        GlobalHydra.instance().clear()


def require_launcher(words: Sequence[str]) -> None:
    """Refuse settings of Hydra that are no launcher of ours and no plain setting of one.

    Args:
        words: The overrides of Hydra itself.

    Raises:
        UserError: There is one; the message names it.

    Example:
        >>> require_launcher(["hydra/launcher=slurm", "hydra.launcher.partition=gpu"])
        >>> require_launcher(["hydra.run.dir=elsewhere"])
        Traceback (most recent call last):
        semilung.types.UserError: hydra.run.dir=elsewhere: of Hydra itself an ablation takes...
    """
    for override in read_overrides(words):
        key, value = override.key_or_group, override.value()
        chosen = key == "hydra/launcher" and value in LAUNCHERS
        prefix, _, name = key.rpartition(".")
        plain = isinstance(value, str | int | float | None) and "$" not in str(value)
        known = prefix == "hydra.launcher" and name in SETTINGS and plain
        if override.package or override.is_delete() or not (chosen or known):
            msg = (
                f"{override.input_line}: of Hydra itself an ablation takes hydra/launcher="
                f"{'|'.join(LAUNCHERS)} and plain values of hydra.launcher.NAME, where NAME is "
                f"one of {', '.join(SETTINGS)}; remove the word"
            )
            raise UserError(msg)


def read_launcher(hydra: Hydra, request: Request, folder: Path) -> DictConfig:
    """Hydra's own config for the chosen launcher.

    Raises:
        UserError: No such launcher or setting, or its extra is not installed.
    """
    require_launcher(request.hydra)
    own = [f"hydra.sweep.dir={quoted(str(folder))}"]
    try:
        return hydra.compose_config("launch", [*own, *request.hydra], RunMode.MULTIRUN)
    except HydraException as error:
        words = " ".join(request.hydra)
        extra = next((extra for word, extra in EXTRAS.items() if f"launcher={word}" in words), None)
        hint = (
            f"it needs an extra: pip install 'semilung[{extra}]'"
            if extra
            else "choose a launcher that has this setting, as hydra/launcher=parallel"
        )
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{words}: the launcher cannot be set up ({reason}); {hint}") from error


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
    words = [[f"run_name={quoted(name)}"] for name in job.cells]
    _launcher(hydra, master, job).launch(words, initial_job_idx=0)


def _launcher(hydra: Hydra, master: DictConfig, job: Job) -> Launcher:
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
    try:
        launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=job, config=master
        )
    except (ImportError, RuntimeError) as error:  # a plugin that is not there, or none at all
        raise UserError(f"the launcher cannot be had: {error}") from error
    return launcher
