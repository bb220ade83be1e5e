"""Names of arms in run folders, sweeps and reports."""

from __future__ import annotations

from collections.abc import Iterable

BASELINE = "supervised"
"""The base of all strategies, and the arm that others are compared with."""


def mixture_name(strategies: Iterable[str], *, healthy: bool = True) -> str:
    """Join strategies by `+`, without the base if there are others; mark arms without healthy ones.

    Example:
        >>> mixture_name(["supervised", "mean_teacher", "mil"]), mixture_name(["supervised"])
        ('mean_teacher+mil', 'supervised')
    """
    joined = "+".join(name for name in strategies if name != BASELINE) or BASELINE
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
