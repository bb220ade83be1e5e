"""FocalMix: semi-supervised detection by soft targets and MixUp."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semilung.losses import soft_focal_loss
from semilung.strategies.centre_detection.centre_targets import centre_targets
from semilung.strategies.core.centre_maps import CENTRES, STRIDE, centre_maps, centre_probability
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register

MIRRORED: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4))
"""Axes of the views of an ensemble, in order."""


class Crops(NamedTuple):
    """Crops with soft targets.

    Attributes:
        images: `(B, 1, X, Y, Z)`.
        heatmap: `(B, 1, X', Y', Z')` in [0, 1].
        weight: Of each voxel of the heatmap, of its shape.
    """

    images: Tensor
    heatmap: Tensor
    weight: Tensor


@register("focal_mix")
class FocalMix(Strategy):
    r"""FocalMix: soft-target focal loss on mixed labelled and unlabelled crops, for detection.

    $$ L = w(t) \; \mathrm{SFL}\big(p_s(\lambda a + (1 - \lambda) b), \;
           \lambda y_a + (1 - \lambda) y_b \big), \qquad
       \lambda = \max(\lambda', 1 - \lambda'), \quad \lambda' \sim \mathrm{Beta}(\eta, \eta) $$

    for each labelled and unlabelled crop a and a crop b drawn from both, with SFL of
    `soft_focal_loss`. y of a labelled crop is its centre heatmap. That of an unlabelled crop is the
    teacher's, averaged over mirrored views u_k of the crop and sharpened:

    $$ \bar q = \frac{1}{K} \sum_k p_t(u_k), \qquad
       y = \frac{\bar q^{1/T}}{\bar q^{1/T} + (1 - \bar q)^{1/T}} $$

    A voxel that is ignored in one of two mixed crops is ignored in the mix.

    The paper's detector has anchors: its targets are of anchors, with its own predictions in place
    of a teacher's, rotated and mirrored views, and objects that are mixed within an image, too.
    Here targets are voxels of the centre heatmap, and whole crops are mixed. As there, offsets and
    diameters learn from labelled crops alone.

    Args:
        weight: w, the final weight of the term on each stream.
        rampup: Share of the training over which the weight grows.
        flips: K, mirrored views of an ensemble, from 1 (the crop alone) to 8 (all).
        temperature: T, above 0, at most 1, which sharpens nothing.
        mixing: η, above 0; small values mix less.
        alpha: Weight of positives in the focal loss, in [0, 1].
        gamma: Its focus on voxels far from their targets, 0 or at least 1.

    Raises:
        ValueError: An option out of its range.

    Source: Wang et al., FocalMix, CVPR 2020; Berthelot et al., MixMatch, NeurIPS 2019.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        rampup: float = 0.4,
        flips: int = 4,
        temperature: float = 0.7,
        mixing: float = 0.2,
        alpha: float = 0.95,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        _check(flips, temperature, mixing, alpha, gamma)
        self.needs = Needs(
            views={"labelled": ("weak",), "unlabelled": ("weak",)},
            fields=("nodules", "spacing_mm"),
            teacher=True,
            tasks=("detection",),
        )
        self.ramp = Ramp(weight, rampup)
        self.flips, self.temperature, self.mixing = flips, temperature, mixing
        self.alpha, self.gamma = alpha, gamma

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `labelled` and `unlabelled`, of the crops that have the larger share in a mix."""
        labelled, unlabelled = _labelled(step), self._unlabelled(step)
        both = Crops(*(torch.cat(pair) for pair in zip(labelled, unlabelled, strict=True)))
        images, heatmap, weight = self._mixed(both)
        logits = centre_maps(step.student(images)[CENTRES]).logits
        first = len(labelled.images)
        parts = {"labelled": slice(None, first), "unlabelled": slice(first, None)}
        ramp = self.ramp(step.progress)
        return {
            stream: Term(self._loss(logits[part], heatmap[part], weight[part]), ramp)
            for stream, part in parts.items()
        }

    def _loss(self, logits: Tensor, heatmap: Tensor, weight: Tensor) -> Tensor:
        return soft_focal_loss(logits, heatmap, weight=weight, alpha=self.alpha, gamma=self.gamma)

    def _unlabelled(self, step: Step) -> Crops:
        images = step.batch("unlabelled")["weak"]
        heatmap = self._sharpened(self._ensemble(step, images))
        return Crops(images, heatmap, torch.ones_like(heatmap))

    def _ensemble(self, step: Step, images: Tensor) -> Tensor:
        """Return the mean of the teacher's heatmaps of mirrored views, mirrored back."""
        # else a mirrored view of an odd size would have its voxels of the maps elsewhere
        far_ends = [side for n in reversed(images.shape[2:]) for side in (0, -n % STRIDE)]
        images = F.pad(images, far_ends, mode="replicate")
        heatmaps = [
            centre_probability(step.teacher(images.flip(axes))).float().flip(axes)
            for axes in MIRRORED[: self.flips]
        ]
        return torch.stack(heatmaps).mean(dim=0)

    def _sharpened(self, heatmap: Tensor) -> Tensor:
        one, zero = heatmap ** (1 / self.temperature), (1 - heatmap) ** (1 / self.temperature)
        return one / (one + zero)

    def _mixed(self, crops: Crops) -> Crops:
        """Mix each crop with another, of which it has the larger share."""
        count = len(crops.images)
        share = torch.distributions.Beta(self.mixing, self.mixing).sample((count,))
        share = torch.maximum(share, 1 - share).view(-1, 1, 1, 1, 1).to(crops.heatmap)
        order = torch.randperm(count)
        other = Crops(*(values[order] for values in crops))
        images, heatmap = (
            a.lerp(b, (1 - share).to(a))
            for a, b in ((crops.images, other.images), (crops.heatmap, other.heatmap))
        )
        return Crops(images, heatmap, crops.weight * other.weight)


def _labelled(step: Step) -> Crops:
    batch = step.batch("labelled")
    images = batch["weak"]
    targets = centre_targets(batch["nodules"], batch["spacing_mm"], images.shape[2:])
    return Crops(images, targets.heatmap, targets.weight)


def _check(flips: int, temperature: float, mixing: float, alpha: float, gamma: float) -> None:
    problem = None
    if not 1 <= flips <= len(MIRRORED):
        problem = f"flips must be from 1 to {len(MIRRORED)}, got {flips}"
    elif not 0 < temperature <= 1:
        problem = f"temperature must be above 0 and at most 1, got {temperature}"
    elif mixing <= 0:
        problem = f"mixing must be above 0, got {mixing}"
    elif not 0 <= alpha <= 1:
        problem = f"alpha must be in [0, 1], got {alpha}"
    elif not (gamma == 0 or gamma >= 1):
        problem = f"gamma must be 0 or at least 1, got {gamma}"
    if problem:
        raise ValueError(problem)
