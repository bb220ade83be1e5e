"""Entropy minimization on unlabelled crops."""

from __future__ import annotations

from semilung.losses import entropy_loss, probabilities
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register


@register("entropy_minimization")
class EntropyMinimization(Strategy):
    r"""Entropy minimization: mean prediction entropy on unlabelled crops, divided by ln C.

    $$ L = w(t) \; \frac{-1}{|X| \ln C} \sum_x \sum_c p_c(x) \ln p_c(x) $$

    On its own it is minimal for an empty prediction; it sharpens what the masks have taught.

    Args:
        weight: w, the final weight of the term.
        rampup: Share of the training over which the weight grows.

    Source: Grandvalet and Bengio, Semi-supervised learning by entropy minimization, NeurIPS 2004.
    """

    def __init__(self, *, weight: float = 0.1, rampup: float = 0.4) -> None:
        super().__init__()
        self.needs = Needs(views={"unlabelled": ("weak",)})
        self.ramp = Ramp(weight, rampup)

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `entropy` of the unlabelled stream."""
        entropy = entropy_loss(probabilities(step.out("unlabelled")["logits"]))
        return {"entropy": Term(entropy, self.ramp(step.progress))}
