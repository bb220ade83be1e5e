"""Interpolation consistency training (ICT)."""

from __future__ import annotations

import torch
from torch import Tensor

from semilung.losses import consistency_loss, probabilities
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register


@register("interpolation_consistency")
class InterpolationConsistency(Strategy):
    r"""Interpolation consistency (ICT): agreement with the teacher on mixes of two crops.

    $$ L = w(t) \; \big( p_s(\lambda u + (1 - \lambda) v)
           - \lambda p_t(u) - (1 - \lambda) p_t(v) \big)^2,
       \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha) $$

    u are the unlabelled crops and v the same crops rolled by one within the batch; a batch of one
    is mixed with its mirror image. λ is sampled for each crop.

    Args:
        weight: w, the final weight of the term.
        rampup: Share of the training over which the weight grows.
        alpha: α, above 0; small values mix less.

    Raises:
        ValueError: `alpha` not above 0.

    Source: Verma et al., Interpolation consistency training, IJCAI 2019.
    """

    def __init__(self, *, weight: float = 1.0, rampup: float = 0.4, alpha: float = 0.2) -> None:
        super().__init__()
        if alpha <= 0:
            msg = f"alpha must be above 0, got {alpha}"
            raise ValueError(msg)
        self.needs = Needs(views={"unlabelled": ("weak",)}, teacher=True)
        self.ramp = Ramp(weight, rampup)
        self.alpha = alpha

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `interpolation` of the unlabelled stream."""
        images: Tensor = step.batch("unlabelled")["weak"]
        teacher = probabilities(step.teacher_out("unlabelled")["logits"])
        share = torch.distributions.Beta(self.alpha, self.alpha).sample((len(images),))
        share = share.to(images).view(-1, *[1] * (images.ndim - 1))
        student = probabilities(step.student(_mixed(images, share))["logits"])
        loss = consistency_loss(student, _mixed(teacher, share.to(teacher)))
        weight = self.ramp(step.progress)
        return {"interpolation": Term(loss, weight)}


def _mixed(x: Tensor, share: Tensor) -> Tensor:
    """Mix each sample with the next one, or a single sample with its mirror image."""
    other = x.roll(1, dims=0) if len(x) > 1 else x.flip(-1)
    return share * x + (1 - share) * other
