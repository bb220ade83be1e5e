"""Base class, requirements and loss terms of a strategy.

A strategy maps the data of a step to named, weighted loss terms. It has access to images, masks and
the outputs of the nets, not to optimizer, loader, logger, config, devices or files.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from semilung.data import PreparedCase
from semilung.data.manifest.targets import Target
from semilung.models.heads import Head
from semilung.registry import Registry
from semilung.types import STREAMS

if TYPE_CHECKING:
    from semilung.strategies.core.learner import Step


class Term(NamedTuple):
    """One term of the loss: its scalar value and its weight at this step."""

    value: Tensor
    weight: float = 1.0


VIEWS = ("weak", "strong", "bag")
FIELDS = ("mask", "anatomy", "instances", "nodules", "targets", "spacing_mm", "bag_label")


def metric(value: Tensor) -> Term:
    """Return a term that is logged but has no gradient: a share, a threshold, an accuracy."""
    return Term(value.detach().float(), 0.0)


@dataclass(frozen=True)
class Needs:
    """Streams, views, fields and heads that a strategy needs, checked before training.

    Attributes:
        views: Views (`weak`, `strong`, `bag`) of each stream, which must have cases.
        optional: The same for streams that are used if the data has them.
        fields: Further fields of the samples (`mask`, `anatomy`, `bag_label`).
        heads: Further outputs of the student: channels by name, or channels and stride (`Head`).
        teacher: Whether the strategy uses the EMA teacher.
        tasks: Tasks whose outputs it can train or read; at least one of them must be active.
        task_fields: Fields that it reads only where a task of `tasks` is active.
        targets: Columns of `nodules.csv` whose values the field `targets` holds.

    Raises:
        ValueError: An unknown stream, view or field.
    """

    views: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    heads: Mapping[str, int | Head] = field(default_factory=dict)
    teacher: bool = False
    tasks: tuple[str, ...] = ("segmentation",)
    task_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        for streams in (self.views, self.optional):
            _require("stream", tuple(streams), STREAMS)
            for views in streams.values():
                _require("view", views, VIEWS)
        for fields in (self.fields, *self.task_fields.values()):
            _require("field", fields, FIELDS)
        _require("task", tuple(self.task_fields), self.tasks)

    def among(self, tasks: Container[str] | None = None) -> Needs:
        """Return the needs in a training of some tasks, with their fields; None: all of its own.

        Example:
            >>> needs = Needs(views={}, task_fields={"segmentation": ("mask",)})
            >>> needs.among().fields, needs.among(["detection"]).fields
            (('mask',), ())
        """
        active = tuple(task for task in self.tasks if tasks is None or task in tasks)
        fields = [f for task in active for f in self.task_fields.get(task, ())]
        unique = tuple(dict.fromkeys([*self.fields, *fields]))
        return replace(self, fields=unique, tasks=active, task_fields={})


def _require(kind: str, names: object, choices: tuple[str, ...]) -> None:
    if not isinstance(names, tuple) or not set(names) <= set(choices):
        raise ValueError(f"{kind}s must be a tuple of {', '.join(choices)}, got {names!r}")


class Strategy(nn.Module):
    """Base class of strategies: a module without the student that returns loss terms.

    Its parts (a discriminator, a prior, a second student) are submodules and buffers, so they are
    moved, saved and loaded with it. Subclasses take keyword-only options, set `needs` and implement
    `terms`; the other methods are optional hooks.
    """

    needs: Needs

    def terms(self, step: Step) -> dict[str, Term]:
        """Return the loss terms of a step, each a mean over samples; a weight may be 0."""
        raise NotImplementedError

    def attach(self, make_student: Callable[[], nn.Module]) -> None:
        """Create nets like the student; called once, when the learner is built.

        Args:
            make_student: Creates a net of the student's architecture with new weights.
        """

    def before_training(self, streams: Mapping[str, Sequence[PreparedCase]]) -> None:
        """Estimate a prior; called before the first step of a new training, not on resume.

        Store it in buffers, so that it is saved.

        Args:
            streams: Training cases of each stream that the strategies read.
        """

    def after_step(self, progress: float) -> None:
        """Update the state; called after each optimizer step and the teacher's update."""

    def after_validation(self, metrics: Mapping[str, float]) -> None:
        """Update controllers of weights; called with the metrics of each validation."""

    def score(self, metrics: Mapping[str, float]) -> float | None:
        """Return the score that `best.pt` maximizes; None leaves it to the default metric."""
        return None

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return groups of parameters with factors on the learning rate, clipped group by group."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [(parameters, 1.0)] if parameters else []


strategies: Registry[Strategy] = Registry("strategy", group="semilung.strategies")
register = strategies.register
