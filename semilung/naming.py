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
