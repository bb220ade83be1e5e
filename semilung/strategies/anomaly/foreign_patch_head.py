"""Anomaly detection (FPI, PII): a head that segments foreign patches in healthy anatomy."""

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

    x' is a healthy crop, in whose region M a share α of another healthy crop is blended: by
    intensities (FPI), M soft at its edge, or by gradients (PII), which leaves no seam, M being
    0 or 1. The head predicts the share, an anomaly score of each voxel. On its own it needs no
    masks, so it can pretrain a run (`init`); with the base terms it is an auxiliary head.
    `predict_probability(..., head="anomaly")` returns the map of a scan.

    Args:
        weight: w, the final weight of the term.
        rampup: Share of the training over which the weight grows.
        blend: `interpolate`, `poisson`, or `both`, which chooses one at random at every step.
        alpha: α_0 and α_1, in (0, 1].
        size: Smallest and largest half axis of a patch, as a share of the crop's edge, in (0, 1].
        iterations: Iterations of the Poisson solver.

    Raises:
        ValueError: An option out of its range.

    Source: Tan et al., FPI, 2020 (arXiv 2011.04197), and PII, MICCAI 2021 (2107.02622); smooth
    random shapes as of the MOOD 2022 winners (2308.01412).
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
        """Return `anomaly` of the healthy stream."""
        images, target = self.blend_patches(step.batch("healthy")["weak"])
        score = step.student(images)[HEAD]
        loss = F.binary_cross_entropy_with_logits(score.float(), target)
        return {"anomaly": Term(loss, self.ramp(step.progress))}

    @torch.no_grad()
    def blend_patches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return crops with a foreign patch each, and its share in every voxel."""
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
                blended = poisson(x, foreign(x), target, iterations=self.iterations)
                blended = torch.where(target > 0, blended.clamp(0, 1), x)
            else:
                target = share * shape
                blended = interpolated(x, foreign(x), target)
        return blended.to(images.dtype), target


def _share_range(name: str, bounds: Sequence[float]) -> tuple[float, float]:
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= 1:
        msg = f"{name} must be a smallest and a largest share in (0, 1], got {list(bounds)}"
        raise ValueError(msg)
    return (float(bounds[0]), float(bounds[1]))
