"""The schema of `semilung train`, and its composed config as checked dataclasses.

Names in a config go through semilung's registries, never through Hydra's `instantiate`, so a config
cannot run code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from semilung.config.hydra_adapter import refuse_environment
from semilung.data import DataConfig
from semilung.data.data_config import PREPARING
from semilung.files import absolute_path
from semilung.runs.config_values import build_settings, config_from_values, parse_settings
from semilung.runs.train_config import TrainConfig
from semilung.types import UserError


@dataclass
class CommandConfig(TrainConfig):
    """The settings of `semilung train`: a training, and where its run is kept.

    Attributes:
        runs_dir: Where run folders are made.
        run_name: The run's folder; by default its strategies, seed and a hash of the config.
        resume: A run's folder to go on with; `auto` is this command's own, where it has begun.
    """

    runs_dir: str = "runs"
    run_name: str | None = None
    resume: str | None = None


def to_command(config: DictConfig) -> CommandConfig:
    """Return the composed configuration as checked dataclasses.

    Raises:
        UserError: A key that no dataclass has (`+optim.wd=1` would otherwise pass in silence).
    """
    with refuse_environment(_environment_message):
        values = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    return config_from_values(CommandConfig, values)


def _environment_message(name: str) -> str:
    return (
        f"${{oc.env:{name}}} is not read, since run folders and reports would keep what the "
        f"environment holds; write the value itself, or let the shell write it (${name})"
    )


def to_training(command: CommandConfig) -> TrainConfig:
    """Return the training alone, without where it is kept."""
    return TrainConfig(**{f.name: getattr(command, f.name) for f in fields(TrainConfig)})


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return the config with paths that hold from any folder; it is changed in place.

    Raises:
        UserError: A path is empty or names no place.
    """
    places = (
        (config, "init", ""),
        (config.data, "cache", "data."),
        (config.data, "manifest", "data."),
    )
    for owner, name, group in places:
        path = getattr(owner, name)
        if path is not None:
            setattr(owner, name, str(absolute_path(path, f"{group}{name}")))
    return config


def data_config(words: Sequence[str]) -> DataConfig:
    """Return the settings of a preparation from `key=value` words, the values in YAML.

    Raises:
        UserError: A word without `=`, or a setting that is unknown, out of range, or not read.

    Example:
        >>> data_config(["spacing_mm=[2, 2, 2]"]).spacing_mm
        (2.0, 2.0, 2.0)
    """
    values = parse_settings(words, "data.")
    config = build_settings(DataConfig, values, "data.")
    if unread := sorted(set(values) - set(PREPARING)):
        raise UserError(
            f"preparation does not read {', '.join(unread)}; leave it out: it reads "
            f"{', '.join(PREPARING)}"
        )
    return config
