"""Names of arms in run folders, sweeps and reports."""

from __future__ import annotations

from collections.abc import Container, Iterable

BASELINE = "supervised"
"""The arm of the tasks' base strategies alone, which others are compared with; its choice is
`strategy=supervised`, whatever the tasks."""


def mixture_name(
    strategies: Iterable[str], *, bases: Container[str] = (), healthy: bool = True
) -> str:
    """Join strategies by `+`, without base strategies; mark arms without healthy scans.

    Args:
        strategies: Names of strategies.
        bases: Names of base strategies besides `BASELINE`.
        healthy: Whether healthy scans are used.

    Example:
        >>> mixture_name(["supervised", "mean_teacher", "mil"]), mixture_name(["supervised"])
        ('mean_teacher+mil', 'supervised')
    """
    further = [name for name in strategies if name != BASELINE and name not in bases]
    joined = "+".join(further) or BASELINE
    return joined if healthy else f"{joined}, no healthy"


NO_HEALTHY = mixture_name((), healthy=False)
"""The ablation arm without the healthy stream."""


def printable(text: str) -> str:
    r"""Escape control characters, lone surrogates and marks of direction in a text.

    Names of cases, columns, paths and runs may come from untrusted data, and a terminal would obey
    control characters in them.

    Example:
        >>> print(printable("a\x1b[2J\u202eb é\n"), end="")
        a\x1b[2J\u202eb é
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t\xa0" else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
