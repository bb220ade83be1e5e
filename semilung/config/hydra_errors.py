"""Errors of Hydra and OmegaConf as messages for the user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import yaml
from omegaconf.errors import ConfigTypeError, OmegaConfBaseException, ValidationError

from semilung.config.hydra_adapter import HydraException, OverrideParseException
from semilung.config.schema import CommandConfig
from semilung.nested import leaves
from semilung.runs.config_values import setting_type, type_message
from semilung.suggestions import suggestion, unknown_setting
from semilung.types import UserError

_NO_KEY = re.compile(r"Key '[^']*' (?:not in '|is not in struct).*?full_key: (\S+)", re.DOTALL)
_NO_GROUP = re.compile(r"Could not find '([^']+)/([^'/]+)'.*?Available options in", re.DOTALL)
_OVERRIDE = re.compile(r"Error merging override [+~]*([\w.]+)=(.*)")
_FULL_KEY = re.compile(r"full_key: ([\w.]+)")
_VALUE = re.compile(r"Value '(.*)' (?:of type|is not a valid)")
_HYDRA = re.compile(r"(?<![/\w])hydra\b(?!\.cc)")


@contextmanager
def hydra_errors() -> Iterator[None]:
    """Raise errors of Hydra in configs and overrides as errors that a user can fix.

    Hydra has no error of its own for much of what files may hold, so Python's are among them.

    Raises:
        UserError: In place of any of them.
    """
    try:
        yield
    except (
        *(HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, AssertionError),
        *(AttributeError, KeyError, RecursionError, TypeError, ValueError),
    ) as error:
        raise UserError(explained(error)) from error


def explained(error: BaseException) -> str:
    """Return a message of Hydra or OmegaConf, shortened, with suggestions for mistyped names."""
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    text = text.partition("Config search path:")[0]
    where = "".join(f"{name}: " for name in re.findall(r"^In '([^']+)': ", text)[:1])
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read as key=value: {text.splitlines()[0]}\n"
            f"A value with blanks or any of = , ' \" # $ ( ) [ ] needs quotes of its own inside "
            f"those of the shell: \"data.manifest='site=A/my manifest.csv'\""
        )
    if message := _type_message(error, text):
        return f"{where}{message}"
    missing = _NO_KEY.search(text)
    if missing and not _HYDRA.match(missing[1]):
        return f"{where}{unknown_setting(missing[1], leaves(asdict(CommandConfig())))}"
    if _HYDRA.search(text):
        return hydra_refusal(f"{where}it sets {missing[1]}" if missing else _short(text))
    if group := _NO_GROUP.search(text):
        options = [line.strip() for line in text[group.end() :].splitlines()[1:]]
        names = ", ".join(filter(None, options))
        hint = suggestion(group[2], options)
        return f"there is no {group[1]} {group[2]!r}{hint}\nThere are: {names}"
    return f"{_short(text)}\n`semilung train --help` lists the settings"


def _type_message(error: BaseException, text: str) -> str | None:
    """Return which type a setting has, where the error is a value of another type."""
    causes = (error, error.__cause__, error.__context__)
    if not any(isinstance(cause, ValidationError | ConfigTypeError) for cause in causes):
        return None
    if override := _OVERRIDE.search(text):
        key, value = override[1], override[2]
    elif (full_key := _FULL_KEY.search(text)) and (actual := _VALUE.search(text)):
        key, value = full_key[1], actual[1]
    else:
        return None
    hint = setting_type(CommandConfig, key)
    return None if hint is Any else type_message(key, value, hint)


def hydra_refusal(what: str) -> str:
    """Return why a setting of Hydra itself is refused."""
    return (
        f"{what}: settings of Hydra itself are refused in files and on the command line, since "
        f"they can run code and move outputs; remove it (`semilung ablate --help` has the "
        f"launchers)"
    )


def _short(text: str) -> str:
    text = text.replace("add --multirun to your command line", "use `semilung ablate`")
    lines = [line.strip() for line in text.splitlines() if not line.startswith((" ", "To append"))]
    return "\n  ".join(dict.fromkeys(filter(None, lines)))
