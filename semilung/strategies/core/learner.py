"""Learner: student, teacher and strategies in one trainable module."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semilung.data import PreparedCase
from semilung.data.manifest.targets import Target
from semilung.models.heads import Head
from semilung.strategies.core.strategy import Needs, Strategy, Term
from semilung.strategies.core.task_weights import TaskWeights
from semilung.strategies.core.teacher import EMATeacher
from semilung.types import Batch, StreamBatch, UserError

Predictor = Literal["auto", "student", "teacher"]

ROLE_REMEDY = "Set the role '{}' in the manifest"
REMEDIES = {
    "unlabelled": (
        f"{ROLE_REMEDY.format('unlabelled')} (or set data.labelled below the number of labelled "
        f"cases)"
    ),
    "labelled": (
        f"{ROLE_REMEDY.format('labelled')} and name masks (with data.batch.located above 0, cases "
        f"without a mask are not of this stream)"
    ),
    "located": (
        "They are labelled cases with nodules in nodules.csv and without a mask: add such (or set "
        "data.labelled below the number of labelled cases, with data.rest=nodules)"
    ),
}
"""How a user gets cases of a stream that is empty."""


class Step:
    """Input of a strategy at one step: batch, progress, and the outputs of the nets.

    Attributes:
        progress: Share of the training that is done, in [0, 1].
    """

    def __init__(
        self, batch: Batch, progress: float, student: nn.Module, teacher: nn.Module | None
    ) -> None:
        self.progress = progress
        self._batch = batch
        self._student = student
        self._teacher = teacher
        self._outputs: dict[tuple[str, str], dict[str, Tensor]] = {}
        self._teacher_outputs: dict[tuple[str, str], dict[str, Tensor]] = {}

    def has(self, stream: str) -> bool:
        """Return whether this training has the stream (the same at every step)."""
        return stream in self._batch

    def batch(self, stream: str) -> StreamBatch:
        """Return the samples of a stream, which must not be modified."""
        return self._batch[stream]

    def out(self, stream: str, view: str = "weak") -> dict[str, Tensor]:
        """Return the student's named outputs on a view, computed once for all strategies."""
        key = (stream, view)
        if key not in self._outputs:
            self._outputs[key] = self.student(self._batch[stream][view])
        return self._outputs[key]

    def teacher_out(self, stream: str, view: str = "weak") -> dict[str, Tensor]:
        """Return the EMA teacher's named outputs on a view, computed once, without gradient."""
        key = (stream, view)
        if key not in self._teacher_outputs:
            self._teacher_outputs[key] = self.teacher(self._batch[stream][view])
        return self._teacher_outputs[key]

    def student(self, x: Tensor) -> dict[str, Tensor]:
        """Run the student on images of a strategy."""
        return self._student(x)  # type: ignore[no-any-return]

    def teacher(self, x: Tensor) -> dict[str, Tensor]:
        """Run the EMA teacher on images of a strategy, without gradient."""
        if self._teacher is None:
            msg = "a strategy that uses step.teacher must declare Needs(teacher=True)"
            raise TypeError(msg)
        return self._teacher(x)  # type: ignore[no-any-return]

    def with_student(self, student: nn.Module) -> Step:
        """Return the same step with another student, such as one that a strategy trains."""
        return Step(self._batch, self.progress, student, self._teacher)

    seen_by = with_student  # former name, for strategies of other packages


class Learner(nn.Module):
    """Student and strategies, with an EMA teacher if any strategy needs one.

    Args:
        student: A model whose `forward(x)` returns named outputs.
        strategies: Name to strategy; their terms are summed.
        teacher_decay: Decay of the teacher's average.
        predictor: Net for prediction: `student`, `teacher` (created if no strategy needs one), or
            `auto`: the teacher if a strategy needs one.
        make_student: Creates a net like the student, for strategies that train two.
        tasks: The active tasks; None for all that the strategies declare.
        task_weights: Learned weights of the tasks' supervised terms; None for those of the config.
    """

    def __init__(
        self,
        student: nn.Module,
        strategies: Mapping[str, Strategy],
        *,
        teacher_decay: float = 0.99,
        predictor: Predictor = "auto",
        make_student: Callable[[], nn.Module] | None = None,
        tasks: Container[str] | None = None,
        task_weights: TaskWeights | None = None,
    ) -> None:
        super().__init__()
        for name, strategy in strategies.items():
            if not isinstance(getattr(strategy, "needs", None), Needs):
                raise TypeError(f"strategy {name!r} has no Needs: set self.needs in __init__")
        self.student = student
        self.strategies = nn.ModuleDict(dict(strategies))
        self.task_weights = task_weights
        self.heads = heads_of(strategies)
        self.needs = {name: strategy.needs.among(tasks) for name, strategy in strategies.items()}
        for strategy in strategies.values():
            strategy.attach(make_student or _no_second_student)
        needs_teacher = any(needs.teacher for needs in self.needs.values())
        self.teacher = (
            EMATeacher(student, decay=teacher_decay)
            if needs_teacher or predictor == "teacher"
            else None
        )
        self._predicts_with_teacher = self.teacher is not None and predictor != "student"

    @property
    def predictor(self) -> nn.Module:
        """The net for validation, checkpoint selection and prediction."""
        if self._predicts_with_teacher and self.teacher is not None:
            return self.teacher
        return self.student

    def forward(self, batch: Batch, progress: float) -> dict[str, Term]:
        """Return the terms of all strategies as `strategy/term`."""
        step = Step(batch, progress, self.student, self.teacher)
        terms = {
            f"{name}/{term}": value
            for name, strategy in self._each()
            for term, value in strategy.terms(step).items()
        }
        for name, term in terms.items():
            if not isinstance(term, Term):
                raise TypeError(f"{name} is not a Term: return {{name: Term(value, weight)}}")
        return terms

    def loss(self, terms: Mapping[str, Term]) -> Tensor:
        """Return the loss of a step: the sum of its terms by their weights, and those of tasks."""
        if self.task_weights is not None:
            return self.task_weights.loss(terms)
        return torch.stack([term.weight * term.value for term in terms.values()]).sum()

    def after_step(self, progress: float) -> None:
        """Update the teacher, then the strategies; called after each optimizer step."""
        if self.teacher is not None:
            self.teacher.update(self.student)
        for _, strategy in self._each():
            strategy.after_step(progress)

    def after_validation(self, metrics: Mapping[str, float]) -> None:
        """Pass the metrics of a validation to the strategies."""
        for _, strategy in self._each():
            strategy.after_validation(metrics)

    def before_training(self, streams: Mapping[str, Sequence[PreparedCase]]) -> None:
        """Let the strategies estimate priors from the training cases before a new training."""
        for _, strategy in self._each():
            strategy.before_training(streams)

    def score(self, metrics: Mapping[str, float], default: float) -> float:
        """Return the score that `best.pt` maximizes: of a strategy, or else the default."""
        scores = [strategy.score(metrics) for _, strategy in self._each()]
        return next((score for score in scores if score is not None), default)

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return the parameters of student and strategies, with factors on the learning rate."""
        groups = [([p for p in self.student.parameters() if p.requires_grad], 1.0)]
        return groups + [group for _, strategy in self._each() for group in strategy.param_groups()]

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Return the parameters without weight decay, which `param_groups` leaves out."""
        return [] if self.task_weights is None else list(self.task_weights.parameters())

    def views(self, available: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
        """Return the views that the loader has to make of each stream.

        Args:
            available: Number of training cases of each stream; 0 if it is switched off.

        Raises:
            UserError: A strategy needs a stream without cases.
        """
        required: dict[str, set[str]] = {}
        for name, needs in self.needs.items():
            for stream, views in needs.views.items():
                if not available.get(stream):
                    raise UserError(
                        f"strategy {name!r} learns from {stream} cases and there are none. "
                        f"{REMEDIES.get(stream, ROLE_REMEDY.format(stream))}, and a share "
                        f"data.batch.{stream} above 0"
                    )
                required.setdefault(stream, set()).update(views)
            for stream, views in needs.optional.items():
                if available.get(stream):
                    required.setdefault(stream, set()).update(views)
        return {stream: tuple(sorted(views)) for stream, views in sorted(required.items())}

    def fields(self) -> tuple[str, ...]:
        """Return the further sample fields that the strategies read."""
        return tuple(sorted({field for needs in self.needs.values() for field in needs.fields}))

    def targets(self) -> tuple[Target, ...]:
        """Return the targets of nodules that the strategies read.

        Raises:
            TypeError: Two strategies read different ones.
        """
        return targets_of_needs(self.needs.values())

    def require_anatomy(self, streams: Mapping[str, Sequence[PreparedCase]]) -> None:
        """Raise UserError unless strategies that read anatomy have a case with anatomy labels.

        Raises:
            UserError: A strategy reads anatomy, and no case of its streams has it.
        """
        for name, needs in self.needs.items():
            names = [*needs.views, *needs.optional]
            cases = [case for stream in names for case in streams.get(stream, ())]
            if "anatomy" in needs.fields and not any("anatomy" in c.files for c in cases):
                msg = (
                    f"strategy {name!r} reads anatomy labels, and none of its "
                    f"{' and '.join(names)} cases has them. Name them in the manifest's column "
                    "`anatomy`, or make coarse ones with `semilung data anatomy MANIFEST`"
                )
                raise UserError(msg)

    def _each(self) -> list[tuple[str, Strategy]]:
        modules: dict[str, Any] = dict(self.strategies.items())
        return list(modules.items())


def heads_of(strategies: Mapping[str, Strategy]) -> dict[str, Head]:
    """Return the size of each head that the strategies read.

    Raises:
        UserError: Two strategies need the same head in different sizes.
    """
    heads: dict[str, Head] = {}
    for name, strategy in strategies.items():
        for head, size in strategy.needs.heads.items():
            if heads.setdefault(head, Head.of(size)) != Head.of(size):
                raise UserError(
                    f"strategy {name!r} reads a head {head!r} of {_described(Head.of(size))}, "
                    f"another strategy one of {_described(heads[head])}: set the same size, or "
                    f"train them separately"
                )
    return heads


def targets_of_needs(needs: Iterable[Needs]) -> tuple[Target, ...]:
    """Return the targets that several strategies read; TypeError if they read different ones."""
    every = {each.targets for each in needs} - {()}
    if len(every) > 1:
        raise TypeError(f"strategies read different targets, {every}: give all the same ones")
    return next(iter(every), ())


def _described(head: Head) -> str:
    return f"{head.channels} channels" + (f" at stride {head.stride}" if head.stride > 1 else "")


def _no_second_student() -> nn.Module:
    msg = "a strategy trains a second student: pass make_student to the Learner"
    raise TypeError(msg)
