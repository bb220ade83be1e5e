"""Conformance checks, each a function of a factory of strategies."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn

from semilung.strategies import Learner, Strategy, Term, build_strategy
from semilung.strategies.core.strategy import VIEWS
from semilung.tasks import all_metrics
from semilung.testing.problem import (
    DECAY,
    SIZE,
    Factory,
    Kind,
    bases_of,
    named,
    tasks_of,
    tiny_batch,
    tiny_learner,
    within,
)
from semilung.types import Batch


def check_strategy(
    strategy: str | Sequence[str] | Factory, *, tasks: Sequence[str] | None = None
) -> None:
    """Run every check on a strategy or a mixture.

    Args:
        strategy: A registered name, several names for a mixture, or a function without arguments
            that returns one strategy, or several by name.
        tasks: The active tasks; None for each alone, and all, that the strategies declare.

    Raises:
        AssertionError: A check fails; the message names the violated requirement.

    Example:
        >>> check_strategy("mean_teacher")
    """
    make = _factory(strategy)
    for active in task_choices(make) if tasks is None else [tuple(tasks)]:
        for check in CHECKS:
            check(within(make, active))


def task_choices(make: Factory) -> list[tuple[str, ...]]:
    """Return the choices of tasks to check strategies with: each alone, and all.

    Those alone are the tasks that all strategies of a mixture declare.
    """
    declared = [strategy.needs.tasks for strategy in named(make).values()]
    union = tuple(dict.fromkeys(task for tasks in declared for task in tasks))
    alone: list[tuple[str, ...]] = [
        (task,) for task in union if all(task in tasks for tasks in declared)
    ]
    return alone if alone == [union] else [*alone, union]


def check_finite(make: Factory) -> None:
    """Terms and gradients are finite on every kind of batch, at the start and at the end."""
    kinds: Sequence[Kind] = ("normal", "empty", "single_voxel", "all_healthy", "ignored")
    for kind in kinds:
        for progress in (0.0, 1.0):
            learner = tiny_learner(make)
            terms = learner(_batch(learner, kind=kind), progress)
            assert terms, "terms() returns no term"
            for name, term in terms.items():
                assert isinstance(term, Term), f"{name} is not a Term"
                assert term.value.ndim == 0, f"{name} is not a scalar: {tuple(term.value.shape)}"
                assert term.value.isfinite(), f"{name} is {term.value} on a {kind} batch"
            assert all(g.isfinite().all() for g in _gradients(learner, terms)), (
                f"a gradient is not finite on a {kind} batch at progress {progress}"
            )


def check_every_stream_teaches(make: Factory) -> None:
    """Each declared view changes the student's gradient, so that no term is without effect.

    Labelled and healthy images may train a part of the strategy instead, as a second student.
    """
    learner = tiny_learner(make)
    batch = _batch(learner)
    assert _flat(_gradients(learner, _seeded(learner, batch))).abs().sum() > 0, (
        "the strategy gives the student no gradient at all"
    )
    may_train_strategy = ("labelled", "healthy")
    for stream, samples in batch.items():
        for view in sorted(set(VIEWS) & set(samples)):
            changed = copy.deepcopy(batch)
            changed[stream][view] = 5 * samples[view]  # enough to change hard labels
            before, after = (
                _flat(_gradients(learner, _seeded(learner, b), every=stream in may_train_strategy))
                for b in (batch, changed)
            )
            assert not torch.equal(before, after), (
                f"the {stream} stream does not change the student's gradient by its {view} view: "
                f"its loss is detached, its weight is 0 at the end, or it is not read"
            )


def check_every_weighted_term_teaches(make: Factory) -> None:
    """Each term with a weight has a gradient, for the student or the strategy."""
    learner = tiny_learner(make)
    names = _seeded(learner, _batch(learner))
    for name in names:
        terms = _seeded(learner, _batch(learner))
        if terms[name].weight:
            total = _flat(_gradients(learner, {name: terms[name]}, every=True)).abs().sum()
            assert total > 0, f"the term {name} has a weight but no gradient"


def check_teacher(make: Factory) -> None:
    """The teacher has no gradient, and equals the closed form of the moving average."""
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
        assert p.grad is None, "the teacher has a gradient"
        assert not p.requires_grad, "the teacher's parameters require gradient"
        torch.testing.assert_close(p, average, msg="the teacher is not the student's average")


def check_teacher_is_read(make: Factory) -> None:
    """A teacher that is needed changes the student's gradient."""
    learner = tiny_learner(make)
    if not any(strategy.needs.teacher for strategy in _strategies(learner)):
        return
    batch = _batch(learner)
    before = _flat(_gradients(learner, _seeded(learner, batch), every=True))
    assert learner.teacher is not None
    for p in learner.teacher.net.parameters():
        p.mul_(-1)
    after = _flat(_gradients(learner, _seeded(learner, batch), every=True))
    assert not torch.equal(before, after), "Needs(teacher=True), but the teacher is never used"


def check_hidden_masks(make: Factory) -> None:
    """Masks of cases that are not labelled are never read: other values change nothing."""
    learner = tiny_learner(make)
    clean, poisoned = _batch(learner), _batch(learner)
    for stream in clean:
        if stream != "labelled":
            size = (2, 1, *(SIZE,) * 3)
            clean[stream].setdefault("mask", torch.zeros(size, dtype=torch.uint8))
            poisoned[stream]["mask"] = torch.full(size, 77, dtype=torch.uint8)
    _require_same(learner, clean, learner, poisoned, "reads a hidden mask")


def check_same_seed(make: Factory) -> None:
    """Two steps with the same seed are bit-identical."""
    learner = tiny_learner(make)
    batch = _batch(learner)
    _require_same(learner, batch, learner, batch, "differs with the same seed")


def check_resumes(make: Factory) -> None:
    """After saving and loading into a new learner, the next step is bit-identical."""
    learner = tiny_learner(make)
    optimizer = torch.optim.SGD([p for g, _ in learner.param_groups() for p in g], lr=0.1)
    torch.autograd.backward(_sum(_seeded(learner, _batch(learner))))
    optimizer.step()
    learner.after_step(0.5)
    learner.after_validation({m.validation_name: 0.5 for m in all_metrics() if m.validated})
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    fresh = tiny_learner(make, seed=1, prior=False)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    batch = _batch(learner, seed=3)
    _require_same(learner, batch, fresh, batch, "differs after loading")


def check_batch_unchanged(make: Factory) -> None:
    """Batch and outputs of the nets are not modified, since other strategies share them."""
    learner = tiny_learner(make)
    batch = _batch(learner)
    original = copy.deepcopy(batch)
    recorded: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    def record(net: nn.Module, images: object, outputs: dict[str, Tensor]) -> None:
        copies = {name: value.detach().clone() for name, value in outputs.items()}
        recorded.append((outputs, copies))

    for net in (learner.student, learner.teacher):
        if net is not None:
            net.register_forward_hook(record)
    torch.autograd.backward(_sum(_seeded(learner, batch)))
    for outputs, before in recorded:
        same = set(outputs) == set(before) and all(
            map(torch.equal, outputs.values(), before.values())
        )
        assert same, "the output of a net, which other strategies read, was changed in place"
    assert {s: set(b) for s, b in batch.items()} == {s: set(b) for s, b in original.items()}, (
        "the batch gained or lost fields"
    )
    for stream, samples in original.items():
        for field, value in samples.items():
            now = batch[stream][field]
            same = torch.equal(now, value) if isinstance(value, Tensor) else now == value
            assert same, f"batch[{stream!r}][{field!r}] was changed in place"


def check_batch_of_one(make: Factory) -> None:
    """One sample in each stream is enough."""
    learner = tiny_learner(make)
    terms = learner(_batch(learner, batch_size=1), 1.0)
    assert all(g.isfinite().all() for g in _gradients(learner, terms)), "not finite at batch size 1"


def check_means(make: Factory) -> None:
    """Each weighted term is a mean over samples, independent of their number."""
    learner = tiny_learner(make)
    batch = _batch(learner)
    twice = copy.deepcopy(batch)
    for samples in twice.values():
        for field, value in samples.items():
            samples[field] = torch.cat([value, value]) if isinstance(value, Tensor) else value * 2
    once, doubled = _seeded(learner, batch), _seeded(learner, twice)
    for name, term in once.items():
        if term.weight and term.value.abs() > 1e-6:
            ratio = (doubled[name].value / term.value).item()
            assert not 1.8 < ratio < 2.2, f"{name} is a sum over samples instead of a mean"


def check_unequal_batches(make: Factory) -> None:
    """Streams may have different numbers of samples, in any order."""
    learner = tiny_learner(make)
    streams = sorted(_batch(learner))
    for sizes in (range(1, len(streams) + 1), range(len(streams), 0, -1)):
        batch = {s: _batch(learner, batch_size=n)[s] for s, n in zip(streams, sizes, strict=True)}
        gradients = _gradients(learner, learner(batch, 1.0))
        assert all(g.isfinite().all() for g in gradients), f"not finite with {list(sizes)} samples"


def check_parameters_in_graph(make: Factory) -> None:
    """With the base terms, every parameter is in the graph of each step, for any batch.

    Several processes average the gradients of all parameters; a missing one stops the training.
    Give a term weight 0 instead of leaving it out.
    """
    kinds: Sequence[Kind] = ("normal", "empty", "all_healthy", "ignored")
    for kind, progress in product(kinds, (0.0, 1.0)):
        learner = tiny_learner(lambda: {**bases_of(tasks_of(named(make))), **named(make)})
        parameters = {n: p for n, p in learner.named_parameters() if p.requires_grad}
        total = _sum(learner(_batch(learner, kind=kind), progress))
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        unused = [name for name, g in zip(parameters, gradients, strict=True) if g is None]
        where = f"on {kind} batches at progress {progress}"
        assert not unused, f"not in the graph {where}: {', '.join(unused)}"


def check_param_groups(make: Factory) -> None:
    """Every trainable parameter is in exactly one group."""
    learner = tiny_learner(make)
    grouped = [id(p) for group, _ in learner.param_groups() for p in group]
    assert len(grouped) == len(set(grouped)), "a parameter is in two groups"
    for name, p in learner.named_parameters():
        in_group = id(p) in grouped
        assert in_group == p.requires_grad, (
            f"{name}: requires_grad is {p.requires_grad}, and it is in a group: {in_group}"
        )


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
    check_teacher_is_read,
    check_hidden_masks,
    check_same_seed,
    check_resumes,
    check_batch_unchanged,
    check_batch_of_one,
    check_means,
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


def _require_same(one: Learner, batch: Batch, two: Learner, other: Batch, difference: str) -> None:
    """Raise AssertionError unless two steps have bit-identical values, weights and gradients."""
    first, second = _seeded(one, batch), _seeded(two, other)
    for name, term in first.items():
        same = torch.equal(term.value, second[name].value) and term.weight == second[name].weight
        assert same, f"{name} {difference}"
    gradients = (
        _flat(_gradients(one, first, every=True)),
        _flat(_gradients(two, second, every=True)),
    )
    assert torch.equal(*gradients), f"the gradient {difference}"


def _sum(terms: dict[str, Term]) -> Tensor:
    return torch.stack([term.weight * term.value.float() for term in terms.values()]).sum()


def _gradients(learner: Learner, terms: dict[str, Term], *, every: bool = False) -> list[Tensor]:
    """Return gradients of the weighted sum for the student, or for every trainable parameter."""
    total = _sum(terms)
    source = learner if every else learner.student
    parameters = [p for p in source.parameters() if p.requires_grad]
    if not total.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return [torch.zeros_like(p) if g is None else g for p, g in pairs]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
