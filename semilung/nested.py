"""Settings as nested plain values: made plain, and laid flat."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """Lists for tuples, throughout, so that YAML stays readable.

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
    """Dotted key to value, throughout.

    Example:
        >>> leaves({"data": {"crop": [8, 8, 8]}, "seed": 0})
        {'data.crop': [8, 8, 8], 'seed': 0}
    """
    if not isinstance(values, dict):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return found
