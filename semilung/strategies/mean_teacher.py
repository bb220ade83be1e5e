"""Mean teacher: consistency with a moving average of the student on unlabelled crops."""

from __future__ import annotations

import torch
from torch import Tensor

from semilung.losses import (
    consistency_loss,
    heatmap_consistency_loss,
    probabilities,
    voxel_entropy,
)
from semilung.strategies.core.centre_maps import CENTRES, centre_probability
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp, sigmoid_rampup
from semilung.strategies.core.strategy import Needs, Strategy, Term, register


@register("mean_teacher")
class MeanTeacher(Strategy):
    r"""Mean teacher, optionally UA-MT: agreement of the strong view with the teacher's weak one.

    $$ L = w(t) \; \frac{\sum_x m(x) (p_s(x) - p_t(x))^2}{\sum_x m(x)}, \qquad
       w(t) = w \exp(-5 (1 - t / T)^2) $$

    The teacher's input is `x + clip(N(0, σ²), ±2σ)`. The uncertainty mask m selects voxels whose
    entropy is below `0.75 + 0.25 exp(-5 (1 - t)^2)` of its maximum ln C, for any number of classes
    C, computed from the mean of several noisy teacher passes; without it, m = 1. Where detection is
    a task, the centre heatmaps agree too: their squared difference per centre that the teacher sees
    (`heatmap_consistency_loss`), without a mask.

    Args:
        weight: w, the final weight of the consistency term.
        rampup: T, share of the training over which the weight grows.
        noise: σ of the teacher's input noise, in units of the scaled window [0, 1].
        uncertainty_passes: Noisy teacher passes for the uncertainty mask; 0 switches it off.

    Raises:
        ValueError: An option out of its range.

    Source: Tarvainen and Valpola, NeurIPS 2017; mask of Yu et al., UA-MT, MICCAI 2019.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        rampup: float = 0.4,
        noise: float = 0.05,
        uncertainty_passes: int = 0,
    ) -> None:
        super().__init__()
        if noise < 0 or uncertainty_passes < 0:
            msg = (
                f"noise and uncertainty_passes must be 0 or more, got {noise}, {uncertainty_passes}"
            )
            raise ValueError(msg)
        self.needs = Needs(
            views={"unlabelled": ("strong", "weak")},
            teacher=True,
            tasks=("segmentation", "detection"),
        )
        self.ramp = Ramp(weight, rampup)
        self.noise = noise
        self.uncertainty_passes = uncertainty_passes

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `consistency` and `centre_consistency` of the unlabelled stream."""
        student, teacher = step.out("unlabelled", "strong"), self._teach(step)
        weight = self.ramp(step.progress)
        terms = {}
        if "logits" in student:
            probs, target = (probabilities(outputs["logits"]) for outputs in (student, teacher))
            mask = self._certain(step) if self.uncertainty_passes else None
            terms["consistency"] = Term(consistency_loss(probs, target, mask=mask), weight)
        if CENTRES in student:
            heatmap, target = (centre_probability(outputs) for outputs in (student, teacher))
            terms["centre_consistency"] = Term(heatmap_consistency_loss(heatmap, target), weight)
        return terms

    def _teach(self, step: Step) -> dict[str, Tensor]:
        images: Tensor = step.batch("unlabelled")["weak"]
        noise = (self.noise * torch.randn_like(images)).clamp(-2 * self.noise, 2 * self.noise)
        return step.teacher(images + noise)

    def _certain(self, step: Step) -> Tensor:
        passes = [
            probabilities(self._teach(step)["logits"]) for _ in range(self.uncertainty_passes)
        ]
        threshold = 0.75 + 0.25 * sigmoid_rampup(step.progress, 1.0)
        return voxel_entropy(torch.stack(passes).mean(0)) < threshold
