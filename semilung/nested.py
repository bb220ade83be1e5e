"""Nested settings: conversion to plain values, flattening and type checks."""

from __future__ import annotations

import types
from typing import Any, Union, get_args, get_origin


def plain(value: Any) -> Any:
    """Convert tuples to lists, recursively, so that YAML stays readable.

    Example:
        >>> plain({"data": {"crop": (8, 8, 8)}})
        {'data': {'crop': [8, 8, 8]}}
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def leaves(values: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted keys.

    Example:
        >>> leaves({"data": {"crop": [8, 8, 8]}, "seed": 0})
        {'data.crop': [8, 8, 8], 'seed': 0}
    """
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value has a setting's type; a list may stand for a tuple.

    Example:
        >>> fits([1, 2.5], tuple[float, float]), fits("1", int), fits(None, int | None)
        (True, False, True)
        >>> fits(["a", "b", "c"], tuple[str, ...])
        True
    """
    kind, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if kind in (Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if kind is tuple:
        if not isinstance(value, list | tuple):
            return False
        if arguments[-1] is Ellipsis:
            arguments = arguments[:1] * len(value)
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if kind is dict:
        keys, values = arguments
        return isinstance(value, dict) and all(
            fits(k, keys) and fits(v, values) for k, v in value.items()
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def describe_type(hint: Any) -> str:
    """Return a setting's type in words.

    Example:
        >>> describe_type(int), describe_type(tuple[float, float] | None)
        ('an integer', 'a list of 2 numbers or null')
        >>> describe_type(tuple[str, ...])
        'a list of texts'
    """
    kind, arguments = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        options = [describe_type(option) for option in arguments if option is not type(None)]
        return " or ".join([*options, "null"] if type(None) in arguments else options)
    if kind is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"a list of {count}{_PLURALS.get(arguments[0], 'values')}"
    if kind is dict:
        return f"a mapping of names to {_PLURALS.get(arguments[1], 'values')}"
    return _SINGULARS.get(hint, "a group of settings")


_SINGULARS = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
_PLURALS = {int: "integers", float: "numbers", bool: "truth values", str: "texts"}
