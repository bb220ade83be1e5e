"""Supervised baseline: masks of labelled crops, background on healthy crops."""

from __future__ import annotations

from semilung.losses import dice_ce_loss, healthy_loss
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register


@register("supervised")
class Supervised(Strategy):
    """Supervised baseline: Dice and cross-entropy on labelled crops, background on healthy ones.

    The healthy term exists if the data has a healthy stream; `data.batch.healthy=0` switches the
    stream off.

    Args:
        dice_weight: Weight of soft Dice within the labelled term.
        ce_weight: Weight of cross-entropy within the labelled term.
        healthy_weight: Final weight of the healthy term.
        healthy_hardest: Share of the voxels of a healthy crop that count, hardest first, in (0, 1].
        healthy_rampup: Share of the training over which the healthy weight grows.

    Raises:
        ValueError: `healthy_hardest` out of range.
    """

    def __init__(
        self,
        *,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        healthy_weight: float = 1.0,
        healthy_hardest: float = 1.0,
        healthy_rampup: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < healthy_hardest <= 1:
            msg = f"healthy_hardest must be in (0, 1], got {healthy_hardest}"
            raise ValueError(msg)
        self.needs = Needs(
            views={"labelled": ("weak",)}, optional={"healthy": ("weak",)}, fields=("mask",)
        )
        self.dice_weight = dice_weight
        self.ce_weight = ce_weight
        self.healthy_ramp = Ramp(healthy_weight, healthy_rampup)
        self.healthy_hardest = healthy_hardest

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `labelled`, and `healthy` if the data has that stream."""
        labelled = dice_ce_loss(
            step.out("labelled")["logits"],
            step.batch("labelled")["mask"],
            dice_weight=self.dice_weight,
            ce_weight=self.ce_weight,
        )
        terms = {"labelled": Term(labelled)}
        if step.has("healthy"):
            background = healthy_loss(step.out("healthy")["logits"], hardest=self.healthy_hardest)
            terms["healthy"] = Term(background, self.healthy_ramp(step.progress))
        return terms
