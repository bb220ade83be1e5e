"""The checks, each a function of a factory of strategies."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from semilung.strategies import Learner, Strategy, Term, build_strategy
from semilung.testing.problem import DECAY, Factory, Kind, named, tiny_batch, tiny_learner
from semilung.types import Batch


def check_strategy(strategy: str | Sequence[str] | Factory) -> None:
    """Run every check on a strategy, or on a mixture of several.

    Args:
        strategy: A registered name, several that are mixed, or a function without arguments that
            makes one strategy, or several by name.

    Raises:
        AssertionError: A check fails; the message says which contract is broken and how.

    Example:
        >>> check_strategy("mean_teacher")
    """
    make = _factory(strategy)
    for check in CHECKS:
        check(make)


def check_finite(make: Factory) -> None:
    """Terms and gradients are finite on every kind of batch, at the start and at the end."""
    kinds: Sequence[Kind] = ("normal", "empty", "single_voxel", "all_healthy", "ignored")
    for kind in kinds:
        for progress in (0.0, 1.0):
            learner = tiny_learner(make)
            terms = learner(_batch(learner, kind=kind), progress)
            assert terms, "terms() gives no term"
            for name, term in terms.items():
                assert isinstance(term, Term), f"{name} is no Term"
                assert term.value.ndim == 0, f"{name} is no scalar: {tuple(term.value.shape)}"
                assert term.value.isfinite(), f"{name} is {term.value} on a {kind} batch"
            assert all(g.isfinite().all() for g in _gradients(learner, terms)), (
                f"a gradient is not finite on a {kind} batch at progress {progress}"
            )


def check_every_stream_teaches(make: Factory) -> None:
    """Each stream's images change the student's gradient; without it, a term would be for show.

    Labelled and healthy images may teach what the strategy owns instead, as a second student.
    """
    learner = tiny_learner(make)
    batch = _batch(learner)
    assert _flat(_gradients(learner, _seeded(learner, batch))).abs().sum() > 0, (
        "the strategy gives the student no gradient at all"
    )
    known = ("labelled", "healthy")
    needs = [strategy.needs for strategy in _strategies(learner)]
    for stream in batch:
        if not any(need.views.get(stream) or need.optional.get(stream) for need in needs):
            continue
        changed = {**batch, stream: _batch(learner, seed=7)[stream]}
        before, after = (
            _flat(_gradients(learner, _seeded(learner, b), every=stream in known))
            for b in (batch, changed)
        )
        assert not torch.equal(before, after), (
            f"the {stream} stream does not change the student's gradient: its loss is detached, "
            f"or its weight is 0 at the end of the training"
        )


def check_every_weighted_term_teaches(make: Factory) -> None:
    """Each term with a weight has a gradient of its own, for the student or the strategy."""
    learner = tiny_learner(make)
    names = _seeded(learner, _batch(learner))
    for name in names:
        terms = _seeded(learner, _batch(learner))
        if terms[name].weight:
            total = _flat(_gradients(learner, {name: terms[name]}, every=True)).abs().sum()
            assert total > 0, f"the term {name} has a weight and no gradient"


def check_teacher(make: Factory) -> None:
    """The teacher takes no gradient, and follows the student by the closed form of the average."""
    learner = tiny_learner(make, perturbed=False)
    if learner.teacher is None:
        return
    torch.autograd.backward(_sum(learner(_batch(learner), 1.0)))
    expected = [p.detach().clone() for p in learner.student.parameters()]
    for t in range(4):
        with torch.no_grad():
            for p in learner.student.parameters():
                p.add_(torch.randn_like(p))
        learner.after_step(1.0)
        alpha = min(1 - 1 / (t + 1), DECAY)
        for average, p in zip(expected, learner.student.parameters(), strict=True):
            average.copy_(alpha * average + (1 - alpha) * p.detach())
    for average, p in zip(expected, learner.teacher.net.parameters(), strict=True):
        assert p.grad is None, "the teacher takes gradient"
        assert not p.requires_grad, "the teacher's parameters require gradient"
        torch.testing.assert_close(p, average, msg="the teacher is not the student's average")


def check_hidden_masks(make: Factory) -> None:
    """Masks of cases that are not labelled are never read: poison in them changes nothing."""
    learner = tiny_learner(make)
    batch = _batch(learner)
    poisoned = copy.deepcopy(batch)
    for stream in poisoned:
        if stream != "labelled":
            poisoned[stream]["mask"] = torch.full_like(poisoned[stream]["mask"], 77)
    clean, dirty = _seeded(learner, batch), _seeded(learner, poisoned)
    for name in clean:
        assert torch.equal(clean[name].value, dirty[name].value), f"{name} reads a hidden mask"


def check_same_seed(make: Factory) -> None:
    """The same seed gives the same bits."""
    learner = tiny_learner(make)
    batch = _batch(learner)
    one, two = _seeded(learner, batch), _seeded(learner, batch)
    for name in one:
        assert torch.equal(one[name].value, two[name].value), f"{name} differs with the same seed"


def check_resumes(make: Factory) -> None:
    """Saved, loaded into a fresh learner, the next step gives the same bits."""
    learner = tiny_learner(make)
    optimizer = torch.optim.SGD([p for g, _ in learner.param_groups() for p in g], lr=0.1)
    torch.autograd.backward(_sum(_seeded(learner, _batch(learner))))
    optimizer.step()
    learner.after_step(0.5)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    fresh = tiny_learner(make, seed=1, prior=False)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    batch = _batch(learner, seed=3)
    one, two = _seeded(learner, batch), _seeded(fresh, batch)
    for name in one:
        assert torch.equal(one[name].value, two[name].value), f"{name} differs after loading"


def check_batch_unchanged(make: Factory) -> None:
    """The batch is read, never written: other strategies share it."""
    learner = tiny_learner(make)
    batch = _batch(learner)
    kept = copy.deepcopy(batch)
    torch.autograd.backward(_sum(_seeded(learner, batch)))
    assert {s: set(b) for s, b in batch.items()} == {s: set(b) for s, b in kept.items()}, (
        "the batch gained or lost fields"
    )
    for stream, samples in kept.items():
        for field, value in samples.items():
            same = torch.equal(batch[stream][field], value) if isinstance(value, Tensor) else True
            assert same, f"batch[{stream!r}][{field!r}] was changed in place"


def check_batch_of_one(make: Factory) -> None:
    """A single sample a stream is enough."""
    learner = tiny_learner(make)
    terms = learner(_batch(learner, batch_size=1), 1.0)
    assert all(g.isfinite().all() for g in _gradients(learner, terms)), "not finite at batch size 1"


def check_unequal_batches(make: Factory) -> None:
    """Streams may have any number of samples each, whichever of them is the longest."""
    learner = tiny_learner(make)
    streams = sorted(_batch(learner))
    for sizes in (range(1, len(streams) + 1), range(len(streams), 0, -1)):
        batch = {s: _batch(learner, batch_size=n)[s] for s, n in zip(streams, sizes, strict=True)}
        gradients = _gradients(learner, learner(batch, 1.0))
        assert all(g.isfinite().all() for g in gradients), f"not finite with {list(sizes)} samples"


def check_parameters_in_graph(make: Factory) -> None:
    """Beside the base terms, every parameter is in the graph of each step, whatever the batch.

    With several processes, gradients are averaged once all have come; one that stays out stops the
    training. Multiply by a zero weight instead of leaving a term out.
    """
    kinds: Sequence[Kind] = ("normal", "empty", "all_healthy", "ignored")
    for kind in kinds:
        learner = tiny_learner(lambda: {"supervised": build_strategy("supervised"), **named(make)})
        parameters = {n: p for n, p in learner.named_parameters() if p.requires_grad}
        total = _sum(learner(_batch(learner, kind=kind), 1.0))
        found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        unused = [name for name, g in zip(parameters, found, strict=True) if g is None]
        assert not unused, f"not in the graph on {kind} batches: {', '.join(unused)}"


def check_param_groups(make: Factory) -> None:
    """Every parameter that can learn is in one group, and in one only."""
    learner = tiny_learner(make)
    grouped = [id(p) for group, _ in learner.param_groups() for p in group]
    assert len(grouped) == len(set(grouped)), "a parameter is in two groups"
    for name, p in learner.named_parameters():
        known = id(p) in grouped
        assert known == p.requires_grad, f"{name}: requires_grad {p.requires_grad}, group {known}"


def check_bfloat16(make: Factory) -> None:
    """Forward and backward run under bf16 autocast and stay close to full precision."""
    learner = tiny_learner(make)
    batch = _batch(learner)
    full = _sum(_seeded(learner, batch))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = _seeded(learner, batch)
    half = _sum(terms)
    assert all(g.isfinite().all() for g in _gradients(learner, terms)), "not finite under bf16"
    assert torch.allclose(half, full, rtol=0.2, atol=0.05), f"bf16 gives {half}, fp32 {full}"


CHECKS: tuple[Callable[[Factory], None], ...] = (
    check_finite,
    check_every_stream_teaches,
    check_every_weighted_term_teaches,
    check_teacher,
    check_hidden_masks,
    check_same_seed,
    check_resumes,
    check_batch_unchanged,
    check_batch_of_one,
    check_unequal_batches,
    check_parameters_in_graph,
    check_param_groups,
    check_bfloat16,
)


def _factory(strategy: str | Sequence[str] | Factory) -> Factory:
    if callable(strategy):
        return strategy
    names = [strategy] if isinstance(strategy, str) else list(strategy)
    return lambda: {name: build_strategy(name) for name in names}


def _batch(learner: Learner, *, kind: Kind = "normal", batch_size: int = 2, seed: int = 0) -> Batch:
    return tiny_batch(*_strategies(learner), kind=kind, batch_size=batch_size, seed=seed)


def _strategies(learner: Learner) -> list[Strategy]:
    return [cast(Strategy, strategy) for strategy in learner.strategies.values()]


def _seeded(learner: Learner, batch: Batch) -> dict[str, Term]:
    torch.manual_seed(11)
    terms: dict[str, Term] = learner(batch, 1.0)
    return terms


def _sum(terms: dict[str, Term]) -> Tensor:
    return torch.stack([term.weight * term.value.float() for term in terms.values()]).sum()


def _gradients(learner: Learner, terms: dict[str, Term], *, every: bool = False) -> list[Tensor]:
    """Gradients of the weighted sum for the student's parameters, or for every one that learns."""
    total = _sum(terms)
    source = learner if every else learner.student
    parameters = [p for p in source.parameters() if p.requires_grad]
    if not total.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
