"""Anomaly detection: a head that segments foreign patches in healthy anatomy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from semilung.strategies.anomaly.foreign_patches import foreign, interpolated, poisson, random_shape
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register

HEAD = "anomaly"

Blend = Literal["interpolate", "poisson", "both"]


@register("anomaly")
class Anomaly(Strategy):
    r"""Foreign patch interpolation (FPI, PII): a head detects patches blended into healthy crops.

    $$ L = w(t) \, \mathrm{BCE}(\sigma(a(x')), \alpha M), \quad \alpha \sim U(\alpha_0, \alpha_1) $$

    x' is a healthy crop into whose shape M a share α of another healthy crop was blended: by
    intensities (FPI), M soft at its edge, or by gradients (PII), which leaves no seam, M being
    0 or 1. The head predicts the share, and so scores how foreign a voxel is to its surroundings.
    Alone, the head needs no mask, so a run of it can be another run's `init`; with the base
    terms it is an auxiliary head. Its map of a scan: `predict_probability(...,
    head="anomaly")`.

    Args:
        weight: w, the final weight of the term.
        rampup: Share of the training over which the weight grows.
        blend: `interpolate`, `poisson`, or `both`, one of the two by chance at every step.
        alpha: α_0 and α_1, in (0, 1].
        size: Smallest and largest half axis of a shape, as a share of the crop's edge, in (0, 1].
        iterations: Steps of the Poisson solver.

    Raises:
        ValueError: Another `blend`, or a range that is none.

    Source: Tan et al., FPI, 2020 (arXiv 2011.04197), and PII, MICCAI 2021 (2107.02622); smooth
    random shapes as the MOOD 2022 winners' (2308.01412).
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        rampup: float = 0.0,
        blend: Blend = "both",
        alpha: Sequence[float] = (0.1, 1.0),
        size: Sequence[float] = (0.08, 0.3),
        iterations: int = 60,
    ) -> None:
        super().__init__()
        if blend not in ("interpolate", "poisson", "both"):
            msg = f"blend must be 'interpolate', 'poisson' or 'both', got {blend!r}"
            raise ValueError(msg)
        self.needs = Needs(views={"healthy": ("weak",)}, heads={HEAD: 1})
        self.ramp = Ramp(weight, rampup)
        self.blend = blend
        self.alpha = _share_range("alpha", alpha)
        self.size = _share_range("size", size)
        self.iterations = iterations

    def terms(self, step: Step) -> dict[str, Term]:
        """`anomaly` on the healthy stream."""
        images, target = self.spoil(step.batch("healthy")["weak"])
        score = step.student(images)[HEAD]
        loss = F.binary_cross_entropy_with_logits(score.float(), target)
        return {"anomaly": Term(loss, self.ramp(step.progress))}

    @torch.no_grad()
    def spoil(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Crops with a foreign patch each, and its share in every voxel, both like `images`."""
        by_gradient = self.blend == "poisson" or (
            self.blend == "both" and bool(torch.rand(()) < 0.5)
        )
        low, high = self.alpha
        share = low + (high - low) * torch.rand(len(images), 1, 1, 1, 1).to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            x = images.float()
            shape = random_shape(x, self.size)
            if by_gradient:
                target = share * (shape >= 0.5)
                spoilt = poisson(x, foreign(x), target, iterations=self.iterations)
                spoilt = torch.where(target > 0, spoilt.clamp(0, 1), x)
            else:
                target = share * shape
                spoilt = interpolated(x, foreign(x), target)
        return spoilt.to(images.dtype), target


def _share_range(name: str, bounds: Sequence[float]) -> tuple[float, float]:
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= 1:
        msg = f"{name} is a smallest and a largest share in (0, 1], got {list(bounds)}"
        raise ValueError(msg)
    return (float(bounds[0]), float(bounds[1]))
