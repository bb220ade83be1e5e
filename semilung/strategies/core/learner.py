"""The learner: student, teacher and strategies in the one module that is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from semilung.data import PreparedCase
from semilung.strategies.core.strategy import Needs, Strategy, Term
from semilung.strategies.core.teacher import EMATeacher
from semilung.types import Batch, StreamBatch, UserError

Predictor = Literal["auto", "student", "teacher"]


class Step:
    """What a strategy sees of one step: the data, the progress, and the nets' outputs.

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
        self._taught: dict[tuple[str, str], dict[str, Tensor]] = {}

    def has(self, stream: str) -> bool:
        """Whether this training has the stream at all (the same answer at every step)."""
        return stream in self._batch

    def batch(self, stream: str) -> StreamBatch:
        """The stream's samples; read, never written."""
        return self._batch[stream]

    def out(self, stream: str, view: str = "weak") -> dict[str, Tensor]:
        """The student's named outputs on a view, computed once however many strategies ask."""
        key = (stream, view)
        if key not in self._outputs:
            self._outputs[key] = self.student(self._batch[stream][view])
        return self._outputs[key]

    def teacher_out(self, stream: str, view: str = "weak") -> dict[str, Tensor]:
        """The EMA teacher's named outputs on a view, computed once too; no gradient."""
        key = (stream, view)
        if key not in self._taught:
            self._taught[key] = self.teacher(self._batch[stream][view])
        return self._taught[key]

    def student(self, x: Tensor) -> dict[str, Tensor]:
        """The student on images that a strategy made."""
        return self._student(x)  # type: ignore[no-any-return]

    def teacher(self, x: Tensor) -> dict[str, Tensor]:
        """The EMA teacher on images that a strategy made; no gradient."""
        if self._teacher is None:
            msg = "a strategy that reads step.teacher must say Needs(teacher=True)"
            raise TypeError(msg)
        return self._teacher(x)  # type: ignore[no-any-return]

    def seen_by(self, student: nn.Module) -> Step:
        """The same step with another student, such as a strategy's own."""
        return Step(self._batch, self.progress, student, self._teacher)


class Learner(nn.Module):
    """Student and strategies, with one EMA teacher where it is wanted.

    Args:
        student: A model whose `forward(x)` returns named outputs with `logits` among them.
        strategies: Name to strategy; their terms are summed.
        teacher_decay: Decay of the teacher's average.
        predictor: Which net predicts: the student, the teacher, or (`auto`) the teacher where a
            strategy keeps one. Asking for the teacher makes one, whatever the strategies.
        make_student: Makes another net like the student; for strategies that train two.
    """

    def __init__(
        self,
        student: nn.Module,
        strategies: Mapping[str, Strategy],
        *,
        teacher_decay: float = 0.99,
        predictor: Predictor = "auto",
        make_student: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        for name, strategy in strategies.items():
            if not isinstance(getattr(strategy, "needs", None), Needs):
                raise TypeError(f"strategy {name!r} has no Needs: set self.needs in its __init__")
        self.student = student
        self.strategies = nn.ModuleDict(dict(strategies))
        self.heads = heads_of(strategies)
        for strategy in strategies.values():
            strategy.attach(make_student or _not_told)
        wanted = any(strategy.needs.teacher for strategy in strategies.values())
        self.teacher = (
            EMATeacher(student, decay=teacher_decay) if wanted or predictor == "teacher" else None
        )
        self._predicts_with_teacher = self.teacher is not None and predictor != "student"

    @property
    def predictor(self) -> nn.Module:
        """The net that validates, is selected, and predicts."""
        if self._predicts_with_teacher and self.teacher is not None:
            return self.teacher
        return self.student

    def forward(self, batch: Batch, progress: float) -> dict[str, Term]:
        """All strategies' terms as `strategy/term`."""
        step = Step(batch, progress, self.student, self.teacher)
        terms = {
            f"{name}/{term}": value
            for name, strategy in self._each()
            for term, value in strategy.terms(step).items()
        }
        for name, term in terms.items():
            if not isinstance(term, Term):
                raise TypeError(f"{name} is no Term: return {{name: Term(value, weight)}}")
        return terms

    def after_step(self, progress: float) -> None:
        """Move the teacher, then let the strategies act; call it after each optimizer step."""
        if self.teacher is not None:
            self.teacher.update(self.student)
        for _, strategy in self._each():
            strategy.after_step(progress)

    def after_validation(self, metrics: Mapping[str, float]) -> None:
        """Pass the metrics of a validation to the strategies' controllers."""
        for _, strategy in self._each():
            strategy.after_validation(metrics)

    def before_training(self, streams: Mapping[str, Sequence[PreparedCase]]) -> None:
        """Let the strategies learn priors from the training cases, before a new training."""
        for _, strategy in self._each():
            strategy.before_training(streams)

    def score(self, metrics: Mapping[str, float], default: str) -> float:
        """Score that `best.pt` maximizes: a strategy's own, or the metric named `default`."""
        own = [strategy.score(metrics) for _, strategy in self._each()]
        return next((score for score in own if score is not None), metrics[default])

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Student's parameters, then each strategy's, with factors on the learning rate."""
        groups = [([p for p in self.student.parameters() if p.requires_grad], 1.0)]
        return groups + [group for _, strategy in self._each() for group in strategy.param_groups()]

    def views(self, available: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
        """Stream to the views that the loader must make, checked against the cases there are.

        Args:
            available: Stream to its number of training cases; 0 where its share is switched off.

        Raises:
            UserError: A strategy needs a stream that holds nothing.
        """
        wanted: dict[str, set[str]] = {}
        for name, strategy in self._each():
            for stream, views in strategy.needs.views.items():
                if not available.get(stream):
                    msg = (
                        f"strategy {name!r} learns from {stream} cases and there are none. Give "
                        f"cases the role {stream!r} in the manifest (or, for unlabelled ones, set "
                        f"data.labelled below the number of labelled cases), and a share "
                        f"data.batch.{stream} above 0"
                    )
                    raise UserError(msg)
                wanted.setdefault(stream, set()).update(views)
            for stream, views in strategy.needs.optional.items():
                if available.get(stream):
                    wanted.setdefault(stream, set()).update(views)
        return {stream: tuple(sorted(views)) for stream, views in sorted(wanted.items())}

    def fields(self) -> tuple[str, ...]:
        """Further sample fields that any strategy reads."""
        return tuple(sorted({f for _, strategy in self._each() for f in strategy.needs.fields}))

    def require_anatomy(self, streams: Mapping[str, Sequence[PreparedCase]]) -> None:
        """Refuse a training whose strategies read anatomy labels where no case has any.

        Raises:
            UserError: A strategy reads anatomy, and none of its streams' cases names it.
        """
        for name, strategy in self._each():
            read = [*strategy.needs.views, *strategy.needs.optional]
            cases = [case for stream in read for case in streams.get(stream, ())]
            if "anatomy" in strategy.needs.fields and not any("anatomy" in c.files for c in cases):
                msg = (
                    f"strategy {name!r} reads anatomy labels, and none of its "
                    f"{' and '.join(read)} cases has them. Name them in the manifest's column "
                    "`anatomy`, or make coarse ones with `semilung data anatomy MANIFEST`"
                )
                raise UserError(msg)

    def _each(self) -> list[tuple[str, Strategy]]:
        modules: dict[str, Any] = dict(self.strategies.items())
        return list(modules.items())


def heads_of(strategies: Mapping[str, Strategy]) -> dict[str, int]:
    """All heads that strategies read, name to channels.

    Raises:
        UserError: Two strategies want one head with different numbers of channels.
    """
    heads: dict[str, int] = {}
    for name, strategy in strategies.items():
        for head, channels in strategy.needs.heads.items():
            if heads.setdefault(head, channels) != channels:
                msg = (
                    f"strategy {name!r} reads a head {head!r} of {channels} channels, another one "
                    f"of {heads[head]}: give them the same number, or train them apart"
                )
                raise UserError(msg)
    return heads


def _not_told() -> nn.Module:
    msg = "a strategy trains a second student: give the Learner its make_student"
    raise TypeError(msg)
