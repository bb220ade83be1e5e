"""From Hydra's configuration to plain dataclasses; the one module besides `cli` that knows it.

Names in a config go through semilung's registries, never through Hydra's `instantiate`, so a config
cannot run code.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semilung.training import TrainConfig
from semilung.types import UserError

RESUMABLE = ("resume", "runs_dir", "run_name", "data.workers", "trainer.threads", "data.cache")
"""Keys that may differ between a run and its continuation, for they do not change its results."""


@dataclass
class CommandConfig(TrainConfig):
    """What `semilung train` takes on top of the training itself.

    Attributes:
        runs_dir: Where run folders are made.
        run_name: The run's folder; by default its strategies, seed and a hash of the config.
        resume: A run's folder to go on with.
    """

    runs_dir: str = "runs"
    run_name: str | None = None
    resume: str | None = None


def register_schema() -> None:
    """Make the dataclasses known to Hydra, so that a wrong key or type is refused by name."""
    ConfigStore.instance().store(name="schema", node=CommandConfig)


def to_command(config: DictConfig) -> CommandConfig:
    """The composed configuration as checked dataclasses.

    Raises:
        UserError: A key that no dataclass has (`+optim.wd=1` would otherwise pass in silence).
    """
    values = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    return cast(CommandConfig, _build(CommandConfig, values, ""))


def to_training(command: CommandConfig) -> TrainConfig:
    """The training alone, without where it is kept."""
    return TrainConfig(**{f.name: getattr(command, f.name) for f in fields(TrainConfig)})


def load_run_config(folder: Path) -> TrainConfig:
    """The configuration that a run's folder keeps.

    Raises:
        UserError: No run there, or a config that this version does not understand.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        msg = f"{folder} is not a run: it has no config.yaml. Give a folder that train has made"
        raise UserError(msg)
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, OmegaConfBaseException) as error:
        msg = f"{path} cannot be read: {error}"
        raise UserError(msg) from error
    if not isinstance(values, dict):
        msg = f"{path} holds no mapping"
        raise UserError(msg)
    return cast(TrainConfig, _build(TrainConfig, cast("dict[str, Any]", values), ""))


def run_name(config: TrainConfig) -> str:
    """Strategies, seed and a hash of everything that shapes the result.

    Example:
        >>> run_name(TrainConfig(strategies={"mean_teacher": {}}, seed=1)).rsplit("-", 1)[0]
        'mean_teacher-s1'
    """
    extra = [name for name in config.strategies if name != "supervised"]
    values = {name: asdict(config)[name] for name in (f.name for f in fields(TrainConfig))}
    for key in RESUMABLE:
        group, _, leaf = key.partition(".")
        if leaf:
            values[group].pop(leaf)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return f"{'+'.join(extra) or 'supervised'}-s{config.seed}-{digest}"


def check_resumed(saved: TrainConfig, asked: CommandConfig, overrides: list[str]) -> None:
    """Refuse a continuation that asks for another training than the run's own.

    Args:
        saved: The run's config.
        asked: The config composed from the command line.
        overrides: The overrides on the command line; only their keys are compared.

    Raises:
        UserError: Overrides whose value differs from the run's.
    """
    differing = []
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~").partition("@")[0]
        if key in RESUMABLE:
            continue
        old, new = _lookup(asdict(saved), key), _lookup(asdict(asked), key)
        if old is not None and old != new:
            differing.append(f"{key} is {old!r} in the run and {new!r} on the command line")
    if differing:
        msg = (
            "resume goes on with the run's own config, and these differ: "
            f"{'; '.join(differing)}. Leave them out, or begin a new run with init={asked.resume}"
        )
        raise UserError(msg)


def _build(kind: type[Any], values: Mapping[str, Any], path: str) -> Any:
    """A dataclass from plain values, its nested ones too; unknown keys are refused."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"; did you mean {path}{near[0]}?" if near else ""
            msg = f"there is no setting {path}{key}{hint}"
            raise UserError(msg)
        hint_type = hints[key]
        if is_dataclass(hint_type) and isinstance(hint_type, type):
            arguments[key] = _build(hint_type, value, f"{path}{key}.")
        else:
            arguments[key] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def _lookup(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return list(values) if isinstance(values, tuple) else values
