"""Dataclasses of settings from plain values, as YAML and command lines hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import yaml

from semilung.files import parse_value
from semilung.nested import describe_type, fits, leaves
from semilung.suggestions import unknown_setting
from semilung.types import UserError

T = TypeVar("T")

CODE_KEYS = ("_target_", "_partial_", "_args_", "hydra")
"""Keys by which a Hydra config can name code to run."""


def config_from_values(kind: type[T], values: Any) -> T:
    """Return a dataclass of settings from plain values read from a file or a command line.

    Raises:
        UserError: As `build_settings`, or a value names code to run, as Hydra's `_target_` does.
    """
    for key in _dotted_keys(values):
        if key.rpartition(".")[2] in CODE_KEYS:
            msg = f"{key} is refused: a config names no code, nor settings of Hydra; remove it"
            raise UserError(msg)
    return build_settings(kind, values)


def build_settings(kind: type[T], values: Any, group: str = "") -> T:
    """Return a dataclass from plain values, nested dataclasses included.

    Args:
        kind: The dataclass.
        values: Mapping of its fields to plain values.
        group: Dotted prefix of its settings in messages, such as `data.`.

    Raises:
        UserError: An unknown setting, a value of another type, or one out of range.
    """
    if not isinstance(values, Mapping):
        msg = f"{group.rstrip('.') or 'the config'} holds settings, not {values!r:.100}"
        raise UserError(msg)
    hints = get_type_hints(kind)
    names = [field.name for field in fields(cast(Any, kind))]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            candidates = dict.fromkeys([*names, *leaves(asdict(cast(Any, kind())))])
            raise UserError(unknown_setting(f"{group}{key}", [group + name for name in candidates]))
        hint = hints[key]
        if is_dataclass(hint) and isinstance(hint, type):
            arguments[key] = build_settings(hint, value, f"{group}{key}.")
        elif not fits(value, hint):
            raise UserError(type_message(f"{group}{key}", value, hint))
        else:
            arguments[key] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def type_message(name: str, value: Any, hint: Any) -> str:
    """Return the message for a setting whose value has another type than its hint."""
    return f"{name}: {describe_type(hint)} is wanted, found {value!r:.100}"


def setting_type(kind: type[Any], name: str) -> Any:
    """Return the type of a dotted setting; `Any` where there is no such setting.

    Example:
        >>> from semilung.runs.train_config import TrainConfig
        >>> setting_type(TrainConfig, "data.batch.labelled")
        <class 'int'>
    """
    hint: Any = kind
    for part in name.split("."):
        if is_dataclass(hint) and isinstance(hint, type):
            hint = get_type_hints(hint).get(part, Any)
        else:
            hint = get_args(hint)[1] if get_origin(hint) is dict else Any
    return hint


def parse_settings(words: Sequence[str], prefix: str) -> dict[str, Any]:
    """Return the values of `key=value` words, read as YAML, by key without the prefix.

    Raises:
        UserError: A word without `=`, or a value that is not valid YAML.

    Example:
        >>> parse_settings(["data.spacing_mm=[2, 2, 2]", "segments=*nodule*"], "data.")
        {'spacing_mm': [2, 2, 2], 'segments': '*nodule*'}
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            msg = f"{word!r} is no setting; write key=value, as in spacing_mm=[2,2,2]"
            raise UserError(msg)
        try:
            # a name with `*` for anything, which YAML would take for an alias
            is_pattern = value.startswith("*")
            values[key.removeprefix(prefix)] = value if is_pattern else parse_value(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            msg = f"{word!r} has no value that YAML can read: {' '.join(str(error).split())}"
            raise UserError(msg) from error
    return values


def _dotted_keys(values: Any, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key at any depth, within lists too."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from _dotted_keys(value, f"{prefix}{key}.")
    elif isinstance(values, list):
        for value in values:
            yield from _dotted_keys(value, prefix)
