"""Handing runs to one of Hydra's launchers: one after another, in parallel, or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.ablation.sweep_job import Job
from semilung.ablation.sweep_request import Request
from semilung.config.compose import quoted, read_overrides
from semilung.config.hydra_adapter import (
    DictConfig,
    HydraException,
    LauncherSession,
    launcher_setting,
)
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


def require_launcher(words: Sequence[str]) -> None:
    """Raise UserError for a setting of Hydra that is no launcher nor a plain setting of one.

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
        allowed = prefix == "hydra.launcher" and name in SETTINGS and plain
        if override.package or override.is_delete() or not (chosen or allowed):
            msg = (
                f"{override.input_line}: of Hydra itself an ablation takes hydra/launcher="
                f"{'|'.join(LAUNCHERS)} and plain values of hydra.launcher.NAME, where NAME is "
                f"one of {', '.join(SETTINGS)}; remove the word"
            )
            raise UserError(msg)


def read_launcher(session: LauncherSession, request: Request, folder: Path) -> DictConfig:
    """Return Hydra's own config for the chosen launcher.

    Raises:
        UserError: No such launcher or setting, or its extra is not installed.
    """
    require_launcher(request.hydra)
    place = f"hydra.sweep.dir={quoted(str(folder))}"
    try:
        return session.compose("launch", [place, *request.hydra])
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


def default_settings(master: DictConfig) -> list[str]:
    """Return the settings that a launcher gives its runs: side by side, each has few threads."""
    if one_by_one(master):
        return []
    return [f"trainer.threads={launcher_setting(master, 'cpus_per_task') or 1}"]


def launch(session: LauncherSession, master: DictConfig, job: Job) -> None:
    """Run a job's cells; those that fail, or whose process is lost, have no row afterwards.

    Raises:
        UserError: The launcher is not available.
        KeyboardInterrupt: It was interrupted.
    """
    session.launch(master, job, [[f"run_name={quoted(name)}"] for name in job.cells])
