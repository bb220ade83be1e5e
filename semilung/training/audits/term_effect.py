"""Audit of the gradients: does every weighted term teach the student?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import pandas as pd
import torch
from torch import Tensor, nn

from semilung.strategies import Learner, Term
from semilung.training.audits.audit import Audit
from semilung.types import Batch

MOMENTS = (0.5, 0.75, 1.0)
"""Shares of the training at which gradients are measured."""

SMALLEST_SHARE = 1e-6
"""Of the reference gradient's norm; a term below it teaches nothing."""

SMALLEST_NORM = 1e-30
"""Stands for a reference gradient of 0."""

STUDENT, OWN, WEIGHT = "gradients/", "own_gradients/", "weights/"
"""Prefixes of names in `metrics.csv`."""


def is_moment(step: int, max_steps: int) -> bool:
    """Whether gradients are measured after so many steps.

    Example:
        >>> [step for step in range(1, 101) if is_moment(step, 100)]
        [50, 75, 100]
    """
    return step in {max(1, round(share * max_steps)) for share in MOMENTS}


def measure_gradients(
    learner: Learner,
    batch: Batch,
    progress: float,
    *,
    seed: int,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    scale: float = 1.0,
) -> dict[str, float]:
    """Return the norm of each term's weighted gradient, of the student and its strategy's modules.

    It is computed on a copy, and torch's generators are restored: weights, gradients, buffers and
    noise of the training stay as they are, so a resumed run still ends with the same bits. It
    costs a step forward and backward a term.

    Args:
        learner: The one that is trained.
        batch: A step's data.
        progress: Share of the training that is done.
        seed: Of the step's noise.
        autocast: The training's precision.
        scale: Loss scale of 16-bit training, so that small gradients do not vanish.

    Returns:
        `gradients/<term>`, NaN at weight 0, and `own_gradients/<term>` where the strategy has
        parameters. A term without graph and weight is a logged metric, and left out.
    """
    twin = copy.deepcopy(learner)
    devices = {p.device for p in twin.parameters() if p.device.type == "cuda"}

    def terms() -> dict[str, Term]:
        torch.manual_seed(seed)
        with autocast():
            return twin(batch, progress)  # type: ignore[no-any-return]

    norms: dict[str, float] = {}
    with torch.random.fork_rng(list(devices)):
        weights = {n: t.weight for n, t in terms().items() if t.weight or t.value.requires_grad}
        for name, weight in weights.items():
            if not weight:
                norms[f"{STUDENT}{name}"] = math.nan
                continue
            strategy = twin.strategies[name.partition("/")[0]]
            student, modules = _norms(terms()[name], (twin.student, strategy), scale)
            norms[f"{STUDENT}{name}"] = student
            if _learning(strategy):
                norms[f"{OWN}{name}"] = modules
    return norms


def audit_term_effect(rows: pd.DataFrame, reference: str) -> Audit:
    """Return, from the rows of `metrics.csv`, whether each term has taught the student.

    A term's share is the largest ratio of its student gradient's norm to the reference term's.
    A term that trains its strategy's own player alone (a discriminator, a second student) is
    accepted, unless no term of that strategy teaches the student.

    Args:
        rows: `step`, `name`, `value` of the whole run.
        reference: The term that every training has (`Task.reference_term`).
    """
    table = rows.pivot_table(index="step", columns="name", values="value", dropna=False)
    names = [n.removeprefix(STUDENT) for n in table.columns if n.startswith(STUDENT)]
    names = [name for name in names if name != reference]
    if not names:
        return Audit("not applicable", f"No gradient but that of {reference} was measured")
    shares = {name: _share(table, name, reference) for name in names}
    players = {n for n in names if shares[n] == 0 and table.get(OWN + n, pd.Series()).max() > 0}
    problems = [_problem(name, table, shares[name]) for name in names if name not in players]
    problems += [
        f"{strategy} teaches only what it owns, and the student nothing"
        for strategy in {name.partition("/")[0] for name in players}
        if all(n in players for n in names if n.startswith(f"{strategy}/"))
    ]
    clauses = sorted(filter(None, problems))
    metrics = {name: share for name, share in shares.items() if not math.isnan(share)}
    if not clauses:
        return Audit("ok", "Every weighted term gives the student a gradient", metrics=metrics)
    return Audit(
        "warning",
        "; ".join(clauses),
        "The run equals one without these terms: look at their weight, ramp and thresholds, and "
        "run semilung.testing.check_strategy on a strategy of your own",
        metrics,
    )


def _share(table: pd.DataFrame, name: str, reference: str) -> float:
    """Largest share of a term over the moments at which it had a weight; NaN where it had none."""
    norm = table[STUDENT + reference].clip(lower=SMALLEST_NORM)
    return float((table[STUDENT + name] / norm).max())


def _problem(name: str, table: pd.DataFrame, share: float) -> str | None:
    weights = table.get(WEIGHT + name)
    if weights is not None and not weights.abs().max() > 0:
        return f"{name} has weight 0 throughout"
    if share < SMALLEST_SHARE:
        return f"{name} has a weight and gives the student no gradient (share {share:.1g})"
    return None


def _norms(term: Term, players: Iterable[nn.Module], scale: float) -> list[float]:
    """Norm of the weighted term's gradient for each player's parameters."""
    parameters = [_learning(player) for player in players]
    every = [p for group in parameters for p in group]
    total = scale * term.weight * term.value
    gradient_of: dict[int, Tensor | None] = {}
    if total.requires_grad:
        gradients = torch.autograd.grad(total, every, allow_unused=True)
        gradient_of = {id(p): g for p, g in zip(every, gradients, strict=True)}
    return [_norm([gradient_of.get(id(p)) for p in group]) / scale for group in parameters]


def _norm(gradients: Iterable[Tensor | None]) -> float:
    return math.sqrt(sum(float(g.double().square().sum()) for g in gradients if g is not None))


def _learning(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]
