"""The runs of an ablation: every combination of the swept settings."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

from semilung.ablation.sweep_request import Request, shaping
from semilung.arm_names import BASELINE, NO_HEALTHY, mixture_name
from semilung.strategies import list_strategies
from semilung.tasks import base_strategies
from semilung.types import UserError

HEALTHY = "data.batch.healthy"


@dataclass(frozen=True)
class Cell:
    """One run of an ablation.

    Attributes:
        arm: Its strategies joined by `+`, or `supervised, no healthy`.
        seed: Its seed.
        axes: Its value of each further swept setting.
        overrides: Settings of `semilung train`, as `key=value`.
        steps: Its number of steps, where the overrides do not decide it (`equal=compute`).
    """

    arm: str
    seed: str
    axes: dict[str, str]
    overrides: list[str] = field(repr=False)
    steps: int | None = None

    @property
    def words(self) -> list[str]:
        """All settings of the training."""
        steps = [] if self.steps is None else [f"trainer.max_steps={self.steps}"]
        return [*self.overrides, *steps]

    @property
    def name(self) -> str:
        """Name of the run's folder: arm, seed and swept values, and a hash of all settings."""
        digest = hashlib.sha256("\n".join(shaping(self.overrides)).encode()).hexdigest()[:6]
        swept = [f"{key.rsplit('.', 1)[-1]}{value}" for key, value in sorted(self.axes.items())]
        readable = "-".join([self.arm.replace(", ", "-"), f"s{self.seed}", *swept])
        safe = re.sub(r"[^\w.+-]", "_", readable)[:100]
        return f"{safe}-{digest}"


def cells_of(request: Request, *, healthy: bool) -> list[Cell]:
    """Return all runs of a request, each once, seed by seed.

    A setting `strategies.X.*` concerns the arms that hold X and is left out of the others.

    Args:
        request: The requested ablation.
        healthy: Whether the data has a healthy stream, so that the arm without it is another.

    Raises:
        UserError: A setting of a strategy that does not exist.

    Example:
        >>> from semilung.ablation.sweep_request import read_request
        >>> request = read_request(["strategy=mil", "strategies.mil.k=1,2", "seed=0,1"])
        >>> [cell.name.rsplit("-", 1)[0] for cell in cells_of(request, healthy=True)][:4]
        ['supervised-no_healthy-s0', 'supervised-s0', 'mil-s0-k1', 'mil-s0-k2']
    """
    arms = {arm_name(strategy): [f"strategy={strategy}"] for strategy in request.axes["strategy"]}
    if request.baselines:
        supervised = {BASELINE: [f"strategy={BASELINE}"]}
        without = {NO_HEALTHY: [f"strategy={BASELINE}", f"{HEALTHY}=0"]}
        arms = (without if healthy else {}) | supervised | arms
    _require_strategies([*request.swept, *(word.partition("=")[0] for word in request.common)])
    further = {key: request.axes[key] for key in request.swept}
    cells: dict[tuple[str, ...], Cell] = {}
    for seed, values in product(request.axes["seed"], product(*further.values())):
        swept = dict(zip(further, values, strict=True))
        for arm, chosen in arms.items():
            fixed = dict(word.split("=", 1) for word in chosen)
            axes = {k: fixed.get(k, v) for k, v in swept.items() if _concerns(k, arm)}
            words = [*request.common, *(f"{key}={value}" for key, value in axes.items())]
            words = [w for w in words if _concerns(w, arm) and w.partition("=")[0] not in fixed]
            name = _named(arm, dict(word.split("=", 1) for word in [*chosen, *words]))
            cell = Cell(name, seed, axes, [*chosen, f"seed={seed}", *words])
            cells.setdefault(tuple(sorted(cell.overrides)), cell)
    return list(cells.values())


def arm_name(strategy: str) -> str:
    """Return the arm of a word of `strategy=...`, see `mixture_name`.

    Example:
        >>> arm_name("[mean_teacher,mil]"), arm_name("supervised")
        ('mean_teacher+mil', 'supervised')
    """
    return mixture_name(name.strip() for name in strategy.strip("[]").split(","))


def _named(arm: str, settings: Mapping[str, str]) -> str:
    """Return the name of an arm; supervised without the healthy stream always has the same.

    Args:
        arm: Strategies joined by `+`.
        settings: Setting to value.
    """
    return NO_HEALTHY if arm == BASELINE and settings.get(HEALTHY) == "0" else arm


def _concerns(word: str, arm: str) -> bool:
    strategy = strategy_of(word.partition("=")[0])
    return strategy in (None, *base_strategies()) or strategy in arm.split("+")


def strategy_of(key: str) -> str | None:
    """Return the strategy that a setting `strategies.X.*` belongs to."""
    parts = key.split(".")
    return parts[1] if parts[0].lstrip("+~") == "strategies" and len(parts) > 1 else None


def _require_strategies(keys: Iterable[str]) -> None:
    names = sorted({*base_strategies(), *list_strategies()})  # tasks of other packages first
    for key in keys:
        strategy = strategy_of(key)
        if strategy is not None and strategy not in names:
            near = difflib.get_close_matches(strategy, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"
            raise UserError(f"{key} is a setting of no strategy{hint}")
