"""Training strategies, one file or folder each, registered by name."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from semilung.strategies.core.learner import Learner, Predictor, Step, heads_of
from semilung.strategies.core.strategy import Needs, Strategy, Term, metric, register, strategies
from semilung.strategies.core.teacher import EMATeacher

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)


def list_strategies() -> list[str]:
    """Return the names of all strategies, including those of other installed packages."""
    return list(strategies)


def build_strategy(name: str, options: Mapping[str, Any] | None = None) -> Strategy:
    """Build a strategy by name.

    Raises:
        UserError: Unknown name or option.

    Example:
        >>> build_strategy("mean_teacher", {"weight": 0.1}).ramp.weight
        0.1
    """
    return strategies.build(name, options or {})


__all__ = [
    "EMATeacher",
    "Learner",
    "Needs",
    "Predictor",
    "Step",
    "Strategy",
    "Term",
    "build_strategy",
    "heads_of",
    "list_strategies",
    "metric",
    "register",
    "strategies",
]
