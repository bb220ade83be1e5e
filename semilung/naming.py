"""Names of arms, as run folders, sweeps and reports have them."""

from __future__ import annotations

from collections.abc import Iterable

BASELINE = "supervised"
"""The base that all strategies stand on, and the arm that others are held against."""

NO_HEALTHY = f"{BASELINE}, no healthy"
"""The arm that shows what the healthy stream is worth."""


def mixture_name(strategies: Iterable[str]) -> str:
    """Strategies joined by `+`; the base is not named beside others.

    Example:
        >>> mixture_name(["supervised", "mean_teacher", "mil"]), mixture_name(["supervised"])
        ('mean_teacher+mil', 'supervised')
    """
    return "+".join(name for name in strategies if name != BASELINE) or BASELINE
