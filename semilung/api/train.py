"""`semilung train`: one training, begun or resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.api.default_cohort import with_default_manifest
from semilung.config.compose import Composer
from semilung.config.resume import resumed
from semilung.config.run_name import run_folder, run_name
from semilung.config.schema import CommandConfig, to_training, with_absolute_paths
from semilung.runs import RunFolder, TrainConfig, load_run_config
from semilung.training import Outcome, ReportedError, first_rank_output, launcher_settings
from semilung.training import train as train_config

__all__ = ["Outcome", "ReportedError", "composed_yaml", "first_rank_output", "train"]

PLACES = ("resume", "runs_dir", "run_name")
"""Settings that say where a run is kept, and are no part of it."""


def train(settings: Sequence[str] = (), *, config_dir: Path | None = None) -> Outcome:
    """Train one strategy, or several at once, in a new run folder or on from where a run stopped.

    Args:
        settings: `key=value` words as of `semilung train`, such as `strategy=mean_teacher`,
            `data.manifest=manifest.csv` or `resume=runs/NAME`.
        config_dir: Folder of further configs, of strategies from elsewhere.

    Returns:
        The run's folder, its steps, and whether it is finished.

    Raises:
        UserError: A setting, the data, a checkpoint or the machine prevents the training.
        ReportedError: Another process of the training has failed, and reports why.

    Example:
        >>> outcome = train(["strategy=mean_teacher", "trainer.max_steps=10"])  # doctest: +SKIP
        >>> outcome.run  # doctest: +SKIP
        PosixPath('runs/mean_teacher-s0-0a1b2c3d')
    """
    words = [*settings, *launcher_settings(settings)]
    command = Composer(config_dir).command(words)
    if command.resume is None:
        config, folder = _new_run(command)
        return train_config(config, folder)
    if command.resume == "auto":
        config, folder = _new_run(command)
        if not RunFolder(folder).config.exists():
            return train_config(config, folder)
    else:
        config, folder = with_absolute_paths(to_training(command)), Path(command.resume)
    saved = load_run_config(folder)
    config.data.manifest = config.data.manifest or saved.data.manifest
    words = [word for word in words if word.partition("=")[0] not in PLACES]
    return train_config(resumed(saved, config, words), folder, resume=True)


def composed_yaml(settings: Sequence[str], *, config_dir: Path | None = None) -> str:
    """Return the composed config of a training as YAML, references as they are written."""
    return Composer(config_dir).yaml([*settings, *launcher_settings(settings)])


def _new_run(command: CommandConfig) -> tuple[TrainConfig, Path]:
    """Return the config and the folder of a run by its own name."""
    config = with_default_manifest(with_absolute_paths(to_training(command)))
    return config, run_folder(command, command.run_name or run_name(config))
