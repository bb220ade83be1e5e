"""Non-adjacency constraint (NonAdjLoss): classes that never touch in training scans."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from semilung.data import PreparedCase
from semilung.losses import non_adjacency_loss, probabilities
from semilung.losses.activation import cross_entropy, masked_mean
from semilung.strategies.core.joint_classes import compose_known, compose_predicted, named_labels
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register
from semilung.strategies.non_adjacency.anatomy_prior import allowed_pairs, forbid, read_contacts
from semilung.strategies.non_adjacency.weight_controller import LambdaControl
from semilung.types import IGNORE, StreamBatch, UserError

STREAMS = ("unlabelled", "healthy", "weak", "labelled")


@register("non_adjacency")
class NonAdjacency(Strategy):
    r"""Non-adjacency constraint (NonAdjLoss): penalizes contact of classes that never touch.

    $$ L = \lambda(t) \frac{\sum_{ij} G_{ij} A_{ij}}{\sum_{ij} G_{ij}}, \qquad
       A_{ij} = \mathrm{mean}_x \, p_i(x) \, q_j(x), \qquad
       p = [\mathrm{anatomy} \cdot (1 - p_{nodule}), \; p_{nodule}] $$

    q is p's mean over the 3^3 box (`soft_adjacency`). The nodule is the class after the anatomy's,
    so that a student that segments only nodules can be constrained. `known` anatomy is one-hot, and
    unknown voxels (255, or a label in `unlabelled`) have no contacts; only pairs with the nodule
    count, since contacts between two fixed classes have no gradient except by covering them with
    nodule. `predicted` anatomy is the softmax of a head `anatomy`, which is trained with
    cross-entropy, and all pairs count.

    The prior G is estimated before training from the anatomy of healthy and labelled scans and the
    masks of labelled ones: pairs that never touch in at least `min_cases` scans with both, see
    `forbid`. The term is a mean over the crops of all streams with anatomy.

    λ follows a `ramp`, or the `published` controller, which needs many validations and a net that
    can segment at the start (`init=runs/x`): its first validation sets weight and reference.
    `published` also selects the checkpoint: the lowest mean L since the last validation, among
    those with a Dice at most 0.005 below the reference. `ramp`, the default, needs neither, and
    selects by Dice, since early in a training from scratch an empty prediction has the lowest L.

    Args:
        weight: Final λ of the ramp; `published` determines it itself.
        schedule: `ramp` or `published`, see `LambdaControl`.
        rampup: Share of the training over which λ of the ramp grows.
        anatomy: `known` or `predicted`.
        anatomy_weight: Weight of the cross-entropy of a predicted anatomy.
        classes: Number of anatomy labels, 0 included.
        unlabelled: Anatomy labels that name no tissue.
        min_cases: Minimum number of scans with both classes of a forbidden pair, at least 1.
        tolerance: Share of the rarer class's contacts in a scan up to which a pair is forbidden.
        allow: Pairs that may touch, such as `nodule-vessel`, or by number, `7-3`.
        prior_cases: Maximum number of scans of each stream for the prior.
        metric: Metric of validation that the published schedule keeps, higher is better.

    Raises:
        ValueError: An option out of its range.

    Source: Ganaye, Sdika and Benoit-Cattin, MICCAI 2018; Medical Image Analysis 2019.
    """

    forbidden: Tensor
    control: Tensor
    interval: Tensor

    def __init__(
        self,
        *,
        weight: float = 10.0,
        schedule: Literal["ramp", "published"] = "ramp",
        rampup: float = 0.4,
        anatomy: Literal["known", "predicted"] = "known",
        anatomy_weight: float = 1.0,
        classes: int = 7,
        unlabelled: Sequence[int] = (0,),
        min_cases: int = 3,
        tolerance: float = 0.0,
        allow: Sequence[str] = (),
        prior_cases: int = 50,
        metric: str = "dice",
    ) -> None:
        super().__init__()
        _check(schedule, anatomy, classes, min_cases, tolerance, prior_cases)
        predicted = anatomy == "predicted"
        self.needs = Needs(
            views={},
            optional=dict.fromkeys(STREAMS, ("weak",)),
            fields=("anatomy", "mask"),
            heads={"anatomy": classes} if predicted else {},
        )
        self.ramp, self.schedule = Ramp(weight, rampup), schedule
        self.predicted, self.anatomy_weight = predicted, anatomy_weight
        self.classes, self.unlabelled = classes, tuple(unlabelled)
        self.min_cases, self.tolerance, self.prior_cases = min_cases, tolerance, prior_cases
        self.metric = f"val/{metric}"
        self.allow = allowed_pairs(allow, classes)
        self.register_buffer("forbidden", torch.zeros(classes + 1, classes + 1, dtype=torch.bool))
        self.register_buffer("control", torch.tensor(LambdaControl().state()))
        # sums since the last validation: Dice of labelled crops, their number, the term, steps
        self.register_buffer("interval", torch.zeros(4))
        self._latest = torch.zeros(4)
        self._progress = 0.0

    def before_training(self, streams: Mapping[str, Sequence[PreparedCase]]) -> None:
        """Estimate the forbidden pairs.

        Raises:
            UserError: No case with anatomy, or no forbidden pair.
        """
        cases = read_contacts(
            streams, self.classes, unlabelled=self.unlabelled, limit=self.prior_cases
        )
        forbidden = forbid(cases, min_cases=self.min_cases, tolerance=self.tolerance)
        for i, j in self.allow:
            forbidden[i, j] = forbidden[j, i] = False
        self.forbidden.copy_(forbidden)
        if not self._pairs().any():
            msg = (
                f"strategy 'non_adjacency' finds no pair of classes{self._about()} that never "
                f"touches in {self.min_cases} of the {len(cases)} scans with anatomy, so it would "
                "have no effect. Lower strategies.non_adjacency.min_cases, raise tolerance, allow "
                "fewer pairs, or add anatomy to more healthy and labelled scans"
            )
            raise UserError(msg)

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `contact`, and `anatomy` if it is predicted."""
        streams = [s for s in STREAMS if step.has(s) and self._constrains(step.batch(s))]
        samples = [len(step.batch(stream)["weak"]) for stream in streams]
        values = [self._contact(step, stream) for stream in streams]
        contact = _mean(values, samples)
        self._latest = self._measure(step, contact)
        terms = {"contact": Term(contact, self._lambda(step.progress))}
        if self.predicted:
            with_anatomy = [stream for stream in streams if "anatomy" in step.batch(stream)]
            losses = torch.cat([self._anatomy_loss(step, stream) for stream in with_anatomy])
            terms["anatomy"] = Term(losses.mean(), self.anatomy_weight)
        return terms

    def after_step(self, progress: float) -> None:
        """Add the step to the sums since the last validation."""
        self.interval += self._latest.to(self.interval.device)
        self._latest = torch.zeros(4)
        self._progress = progress

    def after_validation(self, metrics: Mapping[str, float]) -> None:
        """Update the controller of λ."""
        if self.schedule == "published":
            train_dice, value = self._means()
            control = LambdaControl.restore(self.control.tolist())
            control.update(
                metrics.get(self.metric, math.nan),
                train_dice=train_dice,
                value=value,
                progress=self._progress,
            )
            self.control.copy_(torch.tensor(control.state()))
        self.interval.zero_()

    def score(self, metrics: Mapping[str, float]) -> float | None:
        """Return minus the contact if Dice is acceptable, else -inf; None selects by Dice."""
        if self.schedule != "published":
            return None
        train_dice, value = self._means()
        control = LambdaControl.restore(self.control.tolist())
        dice = metrics.get(self.metric, math.nan)
        acceptable = control.acceptable(dice, train_dice=train_dice, value=value)
        return -value if acceptable and not math.isnan(value) else -math.inf

    def _contact(self, step: Step, stream: str) -> Tensor:
        out, batch = step.out(stream), step.batch(stream)
        nodule = _foreground(out["logits"])
        if self.predicted:
            probs = compose_predicted(nodule, out["anatomy"])
        else:
            probs = compose_known(
                nodule, named_labels(batch["anatomy"], self.unlabelled), self.classes
            )
        return non_adjacency_loss(probs, self._pairs())

    def _constrains(self, batch: StreamBatch) -> bool:
        return self.predicted or "anatomy" in batch

    def _anatomy_loss(self, step: Step, stream: str) -> Tensor:
        """Return the cross-entropy `(B,)` of the anatomy head over voxels with a tissue label."""
        anatomy = named_labels(step.batch(stream)["anatomy"], self.unlabelled)
        valid = anatomy < self.classes
        losses = cross_entropy(step.out(stream)["anatomy"], torch.where(valid, anatomy, 0))
        return masked_mean(losses, valid[:, 0])

    def _pairs(self) -> Tensor:
        """Return the forbidden pairs that count: all, or those with the nodule."""
        if self.predicted:
            return self.forbidden
        nodule = torch.arange(self.classes + 1, device=self.forbidden.device) == self.classes
        return self.forbidden & (nodule[:, None] | nodule)

    def _about(self) -> str:
        return "" if self.predicted else ", one of them the nodule,"

    def _lambda(self, progress: float) -> float:
        if self.schedule == "published":
            return float(self.control[0])
        return self.ramp(progress)

    def _measure(self, step: Step, contact: Tensor) -> Tensor:
        """Return the sum and number of Dice values of labelled crops, the term, and 1 step."""
        dice, count = contact.new_zeros(()), contact.new_zeros(())
        if self.schedule == "published" and step.has("labelled"):
            predicted = _foreground(step.out("labelled")["logits"].detach()) > 0.5
            mask = step.batch("labelled")["mask"]
            positive = (mask == 1).flatten(1)
            predicted = (predicted & (mask != IGNORE)).flatten(1)
            both = (predicted & positive).sum(dim=1)
            dices = 2 * both / (predicted.sum(dim=1) + positive.sum(dim=1)).clamp(min=1)
            with_nodule = positive.any(dim=1)
            dice, count = (dices * with_nodule).sum(), with_nodule.sum()
        return torch.stack([dice, count, contact.detach(), torch.ones_like(contact)]).float()

    def _means(self) -> tuple[float, float]:
        """Return mean Dice and mean term since the last validation, NaN without any."""
        dice, count, contact, steps = self.interval.tolist()
        return dice / count if count else math.nan, contact / steps if steps else math.nan


def _foreground(logits: Tensor) -> Tensor:
    """Return the probability of nodule, `(B, 1, *spatial)`."""
    probs = probabilities(logits.float())
    return probs if probs.shape[1] == 1 else 1 - probs[:, :1]


def _mean(values: Sequence[Tensor], samples: Sequence[int]) -> Tensor:
    """Return the mean over the samples of all streams from the mean of each."""
    weighted = [value * count for value, count in zip(values, samples, strict=True)]
    return torch.stack(weighted).sum() / sum(samples)


def _check(
    schedule: str,
    anatomy: str,
    classes: int,
    min_cases: int,
    tolerance: float,
    prior_cases: int,
) -> None:
    problem = None
    if schedule not in ("ramp", "published"):
        problem = f"schedule must be ramp or published, got {schedule!r}"
    elif anatomy not in ("known", "predicted"):
        problem = f"anatomy must be known or predicted, got {anatomy!r}"
    elif not 2 <= classes < IGNORE:
        problem = f"classes must lie in [2, {IGNORE}), got {classes}"
    elif min(min_cases, prior_cases) < 1:
        problem = f"min_cases and prior_cases must be at least 1, got {min_cases} and {prior_cases}"
    elif not 0 <= tolerance < 1:
        problem = f"tolerance must lie in [0, 1), got {tolerance}"
    if problem:
        raise ValueError(problem)
