"""The config that a run's folder keeps, read without Hydra."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from semilung.data.data_config import PREPARING
from semilung.files import absolute_path, read_yaml
from semilung.runs.config_values import build_settings, config_from_values, parse_settings
from semilung.runs.exported_config import is_export
from semilung.runs.run_folder import RunFolder
from semilung.runs.train_config import TrainConfig
from semilung.types import UserError


def load_run_config(folder: Path) -> TrainConfig:
    """Return the config of a run.

    Raises:
        UserError: The folder is not a run, or its config has settings that this version lacks.
    """
    return config_from_values(TrainConfig, read_run_settings(folder))


def read_run_settings(folder: Path) -> dict[str, Any]:
    """Return the plain values of a run's `config.yaml`, also where another version wrote it.

    Raises:
        UserError: The folder is not a run, or the file is damaged.
    """
    path = RunFolder(folder).config
    if not path.is_file():
        if is_export(folder):
            raise UserError(
                f"{folder} is an export, which predicts and starts a training (init=), but knows "
                f"no cases to evaluate or resume on; give the run itself"
            )
        msg = f"{folder} is not a run: it has no config.yaml. Give a folder that train has made"
        raise UserError(msg)
    settings = read_yaml(path)
    if not isinstance(settings, dict):
        raise UserError(f"{path}: the config holds settings, not {settings!r:.100}; restore it")
    return {str(key): value for key, value in settings.items()}


REPLACEABLE = ("inference", "evaluation")
"""Groups of settings that a finished run may be used with."""


def with_settings(config: TrainConfig, words: Sequence[str]) -> TrainConfig:
    """Return a run's config with `inference.` or `evaluation.` settings in place of its own.

    Others would change how scans are prepared or what the network is, after the training.

    Args:
        config: Of a run.
        words: `inference.key=value` or `evaluation.key=value` each.

    Raises:
        UserError: A word of another form, or a setting that is unknown or out of range.

    Example:
        >>> with_settings(TrainConfig(), ["evaluation.empty=nnunet"]).evaluation.empty
        'nnunet'
    """
    if isinstance(words, str):
        raise UserError(f"settings are a list of words, got the text {words!r}: put it into a list")
    values = asdict(config)
    for word in words:
        group = word.partition(".")[0]
        if group not in REPLACEABLE or "=" not in word:
            raise UserError(
                f"{word!r} is not a setting of a finished run; there are inference.key=value and "
                f"evaluation.key=value"
            )
        values[group] |= parse_settings([word], f"{group}.")
    return build_settings(TrainConfig, values)


def with_available_cache(config: TrainConfig) -> TrainConfig:
    """Return a run's config with the user's own cache where the run's cache is not on this machine.

    A run from another machine names a cache there; evaluating it must not fill a folder of that
    name here.
    """
    if config.data.cache is None:
        return config
    cache = absolute_path(config.data.cache, "data.cache")
    if any(cache.glob("??/*.b2nd")):
        return config
    data = replace(config.data, cache=None)
    warnings.warn(
        f"{cache}, the cache that the run's config names, holds no prepared volumes; "
        f"{data.cache_folder()} is used (SEMILUNG_CACHE names another)",
        stacklevel=2,
    )
    return replace(config, data=data)


def common_preparation(configs: Sequence[TrainConfig]) -> TrainConfig:
    """Return the first config, whose preparation of scans must be that of all others.

    Raises:
        UserError: Two runs prepare scans differently, so their predictions cannot be averaged.
    """
    first = configs[0]
    for other in configs[1:]:
        for name in ("window_hu", *(name for name in PREPARING if name != "cache")):
            one, two = getattr(first.data, name), getattr(other.data, name)
            if one != two:
                msg = (
                    f"runs can be averaged where they prepare scans alike, but data.{name} is "
                    f"{one} in one and {two} in another"
                )
                raise UserError(msg)
    return first
