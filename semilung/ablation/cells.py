"""The runs of an ablation: every combination of the swept settings."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from itertools import product

from semilung.ablation.request import Request

BASELINE = "supervised"
NO_HEALTHY = "supervised, no healthy"
"""The arm that shows what the healthy stream is worth."""


@dataclass(frozen=True)
class Cell:
    """One run of an ablation.

    Attributes:
        arm: Its strategies joined by `+`, or `supervised, no healthy`.
        seed: Its seed.
        axes: Its value of each further swept setting.
        overrides: What `semilung train` is told, as `key=value`.
    """

    arm: str
    seed: str
    axes: dict[str, str]
    overrides: list[str] = field(repr=False)

    @property
    def name(self) -> str:
        """The run's folder: arm, seed and swept values, and a hash of all that it is told."""
        digest = hashlib.sha256("\n".join(sorted(self.overrides)).encode()).hexdigest()[:6]
        swept = [f"{key.rsplit('.', 1)[-1]}{value}" for key, value in self.axes.items()]
        readable = "-".join([self.arm.replace(", ", "-"), f"s{self.seed}", *swept])
        safe = re.sub(r"[^\w.+-]", "_", readable)[:100]
        return f"{safe}-{digest}"


def cells_of(request: Request, *, healthy: bool) -> list[Cell]:
    """All runs that a request asks for, each once, seed by seed.

    A setting `strategies.X.*` concerns the arms that hold X and is left out of the others.

    Args:
        request: What was asked for.
        healthy: Whether the data has a healthy stream, so that the arm without it is another.

    Example:
        >>> from semilung.ablation.request import read_request
        >>> request = read_request(["strategy=mil", "strategies.mil.k=1,2", "seed=0,1"])
        >>> [cell.name.rsplit("-", 1)[0] for cell in cells_of(request, healthy=True)][:4]
        ['supervised-no_healthy-s0', 'supervised-s0', 'mil-s0-k1', 'mil-s0-k2']
    """
    arms = {arm_name(strategy): [f"strategy={strategy}"] for strategy in request.axes["strategy"]}
    if request.baselines:
        supervised = {BASELINE: [f"strategy={BASELINE}"]}
        without = {NO_HEALTHY: [f"strategy={BASELINE}", "data.batch.healthy=0"]}
        arms = (without if healthy else {}) | supervised | arms
    further = {key: request.axes[key] for key in request.swept}
    found: dict[tuple[str, ...], Cell] = {}
    for seed, values in product(request.axes["seed"], product(*further.values())):
        swept = dict(zip(further, values, strict=True))
        for arm, own in arms.items():
            set_by_arm = {word.partition("=")[0] for word in own}
            shared = [f"{key}={value}" for key, value in swept.items()]
            told = [w for w in [*request.common, *shared] if _concerns(w, arm, set_by_arm)]
            axes = {k: v for k, v in swept.items() if _concerns(f"{k}={v}", arm, set_by_arm)}
            cell = Cell(arm, seed, axes, [*own, f"seed={seed}", *told])
            found.setdefault(tuple(cell.overrides), cell)
    return list(found.values())


def arm_name(strategy: str) -> str:
    """Strategies joined by `+`; the base is not named beside others.

    Example:
        >>> arm_name("[mean_teacher,mil]"), arm_name("supervised")
        ('mean_teacher+mil', 'supervised')
    """
    names = [name.strip() for name in strategy.strip("[]").split(",")]
    return "+".join(name for name in names if name != BASELINE) or BASELINE


def _concerns(word: str, arm: str, set_by_arm: set[str]) -> bool:
    key = word.partition("=")[0]
    parts = key.split(".")
    if parts[0].lstrip("+~") == "strategies" and len(parts) > 1 and parts[1] != BASELINE:
        return parts[1] in arm.split("+")
    return key not in set_by_arm
