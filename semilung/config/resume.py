"""The config of a continued run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from semilung.nested import leaves, plain
from semilung.runs.config_values import build_settings
from semilung.runs.train_config import CHANGEABLE, EXTENDABLE, TrainConfig
from semilung.types import UserError


def resumed(saved: TrainConfig, requested: TrainConfig, words: Sequence[str]) -> TrainConfig:
    """Return the run's own config, with the changeable settings of the command line.

    Args:
        saved: The run's config.
        requested: The config composed from the command line.
        words: The overrides on the command line. Either they name changeable settings alone, or
            they compose the very training that the run is. `trainer.max_steps` may differ in both
            cases.

    Raises:
        UserError: They ask for another training; the message names the settings that differ.
    """
    keys = {word.partition("=")[0].lstrip("+~").partition("@")[0] for word in words}
    values = asdict(saved)
    changeable = {*CHANGEABLE, EXTENDABLE}
    for key in keys & changeable:
        _set(values, key, _get(asdict(requested), key))
    config = build_settings(TrainConfig, values)
    if keys <= changeable:
        return config
    if differing := differences(config, requested):
        raise UserError(
            f"resume goes on with the run's own config, and the command line asks for another: "
            f"{'; '.join(differing[:5])}. Give resume=... alone, or begin a new run"
        )
    return config


def differences(saved: TrainConfig, requested: TrainConfig) -> list[str]:
    """Return the settings in which a run is not the requested training, a clause each."""
    old, new = leaves(plain(asdict(saved))), leaves(plain(asdict(requested)))
    return [
        f"{key} is {old.get(key)!r} in the run and {new.get(key)!r} on the command line"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and key not in CHANGEABLE
    ]


def _get(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _set(values: Any, key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for part in parents:
        values = values[part]
    values[leaf] = value
