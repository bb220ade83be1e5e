"""The contract of a strategy.

A strategy turns a step's data into named, weighted loss terms. It sees images, masks and the
student's outputs, never the optimizer, the loader, the logger, the config, devices or files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from semilung.data import PreparedCase
from semilung.registry import Registry
from semilung.types import ROLES

if TYPE_CHECKING:
    from semilung.strategies.core.learner import Step


class Term(NamedTuple):
    """One term of the loss: its scalar value, and its weight at this point of the training."""

    value: Tensor
    weight: float = 1.0


VIEWS = ("weak", "strong", "bag")
FIELDS = ("mask", "anatomy", "instances", "nodules", "bag_label")


def metric(value: Tensor) -> Term:
    """A term that is logged and not trained on: a share, a threshold, an accuracy."""
    return Term(value.detach().float(), 0.0)


@dataclass(frozen=True)
class Needs:
    """Streams, views, fields and heads that a strategy reads; checked before training.

    Attributes:
        views: Stream to the views it reads (`weak`, `strong`, `bag`); it must hold cases.
        optional: The same, for streams that it uses only where the data has them.
        fields: Further fields of the samples (`mask`, `anatomy`, `bag_label`).
        heads: Further outputs of the student, name to channels, read from its features.
        teacher: Whether it reads the EMA teacher.

    Raises:
        ValueError: An unknown stream, view or field.
    """

    views: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    heads: Mapping[str, int] = field(default_factory=dict)
    teacher: bool = False

    def __post_init__(self) -> None:
        for streams in (self.views, self.optional):
            _require("stream", tuple(streams), ROLES)
            for views in streams.values():
                _require("view", views, VIEWS)
        _require("field", self.fields, FIELDS)


def _require(what: str, named: object, known: tuple[str, ...]) -> None:
    if not isinstance(named, tuple) or not set(named) <= set(known):
        raise ValueError(f"{what}s are a tuple of {', '.join(known)}, got {named!r}")


class Strategy(nn.Module):
    """Base class of strategies: a module without the student that returns loss terms.

    Its own parts (a discriminator, a prior, a second student) are submodules and buffers, so they
    move, save and load with it. Subclasses take keyword-only options, set `needs` and implement
    `terms`; the hooks are optional.
    """

    needs: Needs

    def terms(self, step: Step) -> dict[str, Term]:
        """The loss terms of this step, each a mean over samples; a zero weight is allowed."""
        raise NotImplementedError

    def attach(self, make_student: Callable[[], nn.Module]) -> None:
        """Called once, when the learner is built: make what has to be like the student here.

        Args:
            make_student: Makes a net of the student's architecture with weights of its own.
        """

    def before_training(self, streams: Mapping[str, Sequence[PreparedCase]]) -> None:
        """Called before the first step of a new training, not on resume: estimate a prior here.

        Store it in buffers, so that it is saved.

        Args:
            streams: The training cases of each stream that the strategies read.
        """

    def after_step(self, progress: float) -> None:
        """Called after each optimizer step; the teacher has moved already."""

    def after_validation(self, metrics: Mapping[str, float]) -> None:
        """Called with the metrics of a validation, for controllers of weights."""

    def score(self, metrics: Mapping[str, float]) -> float | None:
        """Score that `best.pt` maximizes, for a strategy with its own criterion."""
        return None

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Own parameters in groups, each with its factor on the learning rate, clipped a group."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [(parameters, 1.0)] if parameters else []


strategies: Registry[Strategy] = Registry("strategy", group="semilung.strategies")
register = strategies.register
