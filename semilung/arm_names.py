"""Names of arms, as run folders, sweeps and reports have them."""

from __future__ import annotations

from collections.abc import Iterable

BASELINE = "supervised"
"""The base that all strategies stand on, and the arm that others are held against."""


def mixture_name(strategies: Iterable[str], *, healthy: bool = True) -> str:
    """Strategies joined by `+`, the base not named beside others; and whether healthy scans teach.

    Example:
        >>> mixture_name(["supervised", "mean_teacher", "mil"]), mixture_name(["supervised"])
        ('mean_teacher+mil', 'supervised')
    """
    joined = "+".join(name for name in strategies if name != BASELINE) or BASELINE
    return joined if healthy else f"{joined}, no healthy"


NO_HEALTHY = mixture_name((), healthy=False)
"""The arm that shows what the healthy stream is worth."""


def printable(text: str) -> str:
    r"""Text with control characters, lone surrogates and marks of direction spelt out.

    A case, a column, a path or a run may be named by a stranger; a terminal obeys what it is sent.

    Example:
        >>> print(printable("a\x1b[2J\u202eb é\n"), end="")
        a\x1b[2J\u202eb é
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t\xa0" else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
