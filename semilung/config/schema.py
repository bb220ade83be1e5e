"""From Hydra's configuration to plain dataclasses; the one module besides `cli` that knows it.

Names in a config go through semilung's registries, never through Hydra's `instantiate`, so a config
cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast, get_type_hints

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from semilung.arm_names import mixture_name
from semilung.data import DataConfig
from semilung.data.data_config import PREPARING
from semilung.data.phantom import DRAWING, write_phantom
from semilung.files import absolute_path, parse_value, read_yaml
from semilung.nested import fits, leaves, plain
from semilung.suggestions import unknown_setting
from semilung.training import TrainConfig
from semilung.training.training_config import CHANGEABLE, EXTENDABLE, RESUMABLE
from semilung.types import UserError


@dataclass
class CommandConfig(TrainConfig):
    """What `semilung train` takes on top of the training itself.

    Attributes:
        runs_dir: Where run folders are made.
        run_name: The run's folder; by default its strategies, seed and a hash of the config.
        resume: A run's folder to go on with; `auto` is this command's own, where it has begun.
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
    with _without_environment():
        values = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    return cast(CommandConfig, _whole(CommandConfig, values))


@contextmanager
def _without_environment() -> Iterator[None]:
    """Resolve no `${oc.env:NAME}`: what it stands for would be kept in run folders and reports."""

    def refuse(name: str, *_: object) -> None:
        msg = (
            f"${{oc.env:{name}}} is not read, since run folders and reports would keep what the "
            f"environment holds; write the value itself, or let the shell write it (${name})"
        )
        raise ValueError(msg)

    OmegaConf.register_new_resolver("oc.env", refuse, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def to_training(command: CommandConfig) -> TrainConfig:
    """The training alone, without where it is kept."""
    return TrainConfig(**{f.name: getattr(command, f.name) for f in fields(TrainConfig)})


def with_absolute_paths(config: TrainConfig, manifest: str | None) -> TrainConfig:
    """The config with paths that hold from any folder.

    Args:
        config: Is changed in place.
        manifest: What a run names already; without it, a config that names no manifest gets the
            embedded phantom's, which is made where it is not there yet.
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
    if config.data.manifest is None and manifest is None:
        folder = config.data.cache_folder() / f"phantom-{DRAWING}"
        print(f"no data.manifest is named: the embedded phantom in {folder} is used")  # noqa: T201
        manifest = str(write_phantom(folder).resolve())
    config.data.manifest = config.data.manifest or manifest
    return config


def load_run_config(folder: Path) -> TrainConfig:
    """The configuration that a run's folder keeps.

    Raises:
        UserError: No run there, or a config that this version does not understand.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        msg = f"{folder} is not a run: it has no config.yaml. Give a folder that train has made"
        raise UserError(msg)
    return cast(TrainConfig, _whole(TrainConfig, read_yaml(path)))


def with_known_cache(config: TrainConfig) -> TrainConfig:
    """A run's config whose prepared volumes lie where prepared volumes are already.

    A run that somebody else trained names her folders, and evaluating it fills no other folder
    here than the user's own cache.

    Args:
        config: Is not changed.
    """
    if config.data.cache is None:
        return config
    named = absolute_path(config.data.cache, "data.cache")
    if any(named.glob("??/*.b2nd")):
        return config
    data = replace(config.data, cache=None)
    msg = (
        f"{named}, the cache that the run's config names, holds no prepared volumes; "
        f"{data.cache_folder()} is used (SEMILUNG_CACHE names another)"
    )
    warnings.warn(msg, stacklevel=2)
    return replace(config, data=data)


def run_folder(command: CommandConfig, name: str) -> Path:
    """The folder of a run within `runs_dir`.

    Args:
        command: Names where runs are kept.
        name: The run's.

    Raises:
        UserError: It is no name: too long for a file system, with control characters, absolute,
            `.` or with `..`.
    """
    path = Path(name)
    elsewhere = path.is_absolute() or not path.parts or ".." in path.parts
    if elsewhere or not name.isprintable() or any(len(p.encode()) > 200 for p in path.parts):
        msg = (
            f"run_name={name!r:.100} names no folder in runs_dir: give printable characters, at "
            f"most 200 bytes between slashes, no '..' and no absolute path"
        )
        raise UserError(msg)
    absolute_path(command.runs_dir, "runs_dir")
    return Path(command.runs_dir).expanduser() / name


def run_name(config: TrainConfig) -> str:
    """Strategies, seed and a hash of everything that shapes the result.

    Example:
        >>> run_name(TrainConfig(strategies={"mean_teacher": {}}, seed=1)).rsplit("-", 1)[0]
        'mean_teacher-s1'
    """
    values = {k: v for k, v in leaves(plain(asdict(config))).items() if k not in RESUMABLE}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return f"{mixture_name(config.strategies)}-s{config.seed}-{digest}"


def resumed(saved: TrainConfig, asked: TrainConfig, overrides: list[str]) -> TrainConfig:
    """The config of a continuation: the run's own, with what may differ as it was asked for.

    Args:
        saved: The run's config.
        asked: The config composed from the command line.
        overrides: The overrides on the command line. Either they name nothing but what may differ,
            or they compose the very training that the run is. `trainer.max_steps` may be another
            in both cases.

    Raises:
        UserError: They ask for another training; the message names the settings that differ.
    """
    given = {override.partition("=")[0].lstrip("+~").partition("@")[0] for override in overrides}
    merged = asdict(saved)
    changeable = {*CHANGEABLE, EXTENDABLE}
    for key in given & changeable:
        _set(merged, key, _get(asdict(asked), key))
    config = cast(TrainConfig, _build(TrainConfig, merged, ""))
    if given <= changeable:
        return config
    if differing := differences(config, asked):
        msg = (
            f"resume goes on with the run's own config, and the command line asks for another: "
            f"{'; '.join(differing[:5])}. Give resume=... alone, or begin a new run"
        )
        raise UserError(msg)
    return config


def differences(saved: TrainConfig, asked: TrainConfig) -> list[str]:
    """What keeps a run from being the training that is asked for, a setting each."""
    old, new = leaves(plain(asdict(saved))), leaves(plain(asdict(asked)))
    return [
        f"{key} is {old.get(key)!r} in the run and {new.get(key)!r} on the command line"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and key not in CHANGEABLE
    ]


def data_config(overrides: list[str]) -> DataConfig:
    """Data settings of a preparation from `key=value` words, the values in YAML.

    Raises:
        UserError: A word without `=`, or a setting that is unknown, out of range, or not read.

    Example:
        >>> data_config(["spacing_mm=[2, 2, 2]"]).spacing_mm
        (2.0, 2.0, 2.0)
    """
    values = _settings(overrides, "data.")
    config = cast(DataConfig, _build(DataConfig, values, "data."))
    if unread := sorted(set(values) - set(PREPARING)):
        msg = f"preparation does not read {', '.join(unread)}; leave it out"
        raise UserError(f"{msg}: it reads {', '.join(PREPARING)}")
    return config


def with_settings(saved: TrainConfig, overrides: list[str]) -> TrainConfig:
    """A run's config with `group.key=value` words in place of some of its settings.

    Raises:
        UserError: As in `data_config`.

    Example:
        >>> with_settings(TrainConfig(), ["evaluation.empty=nnunet"]).evaluation.empty
        'nnunet'
    """
    values = asdict(saved)
    for word in overrides:
        group = word.partition(".")[0]
        values[group] |= _settings([word], f"{group}.")
    return cast(TrainConfig, _build(TrainConfig, values, ""))


def _settings(overrides: list[str], prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals:
            msg = f"{word!r} is no setting; write key=value, as in spacing_mm=[2,2,2]"
            raise UserError(msg)
        try:
            values[key.removeprefix(prefix)] = parse_value(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            msg = f"{word!r} has no value that YAML can read: {' '.join(str(error).split())}"
            raise UserError(msg) from error
    return values


def _whole(kind: type[Any], values: Any) -> Any:
    """A config from plain values that were read from somewhere.

    Raises:
        UserError: As in `_build`, or a value names code to run, as Hydra's `_target_` does.
    """
    for key in _keys(values):
        if key.rpartition(".")[2] in ("_target_", "_partial_", "_args_", "hydra"):
            msg = f"{key} is refused: a config names no code, nor settings of Hydra; remove it"
            raise UserError(msg)
    return _build(kind, values, "")


def _keys(values: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key at any depth, within lists too."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")
    elif isinstance(values, list):
        for value in values:
            yield from _keys(value, prefix)


def _build(kind: type[Any], values: Any, path: str) -> Any:
    """A dataclass from plain values, its nested ones too; unknown keys and types are refused."""
    if not isinstance(values, Mapping):
        msg = f"{path.rstrip('.') or 'the config'} holds settings, not {values!r:.100}"
        raise UserError(msg)
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            known = dict.fromkeys([*names, *leaves(asdict(kind()))])
            raise UserError(unknown_setting(f"{path}{key}", [path + name for name in known]))
        hint_type = hints[key]
        if is_dataclass(hint_type) and isinstance(hint_type, type):
            arguments[key] = _build(hint_type, value, f"{path}{key}.")
        elif not fits(value, hint_type):
            wanted = getattr(hint_type, "__name__", "") or str(hint_type)
            msg = f"{path}{key}={value!r:.100} is not of the type {wanted}"
            raise UserError(msg)
        else:
            arguments[key] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def _get(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _set(values: Any, key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for part in parents:
        values = values[part]
    values[leaf] = value
