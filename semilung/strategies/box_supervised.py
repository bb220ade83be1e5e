"""Box supervision: centres and diameters of nodules as weak labels of their voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semilung.data.manifest.nodules import UNMEASURED_MM
from semilung.losses import (
    box_emptiness_loss,
    box_tightness_loss,
    pairwise_affinity_loss,
    size_barrier_loss,
)
from semilung.losses.boxes import nearest_ellipsoid
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register


@register("box_supervised")
class BoxSupervised(Strategy):
    r"""Box supervision: tightness, emptiness, size and affinity from centres and diameters.

    Crops of the stream `located` show nodules of which centre and diameter are known, and no mask:

    - *tightness*: lines of voxels near a nodule's centre cross it (multiple instances);
    - *emptiness*: outside of the balls, enlarged by `margin`, is background;
    - *size*: the soft volume is that of the ball, $ \pi d^3 / 6 $, within a tolerance (log-barrier
      with t from `barrier[0]` to `barrier[1]` during the training);
    - *affinity*: neighbours of similar intensity in or at a ball have one label.

    Balls and not boxes: rotations of a crop leave a ball a ball, and a nodule does not reach the
    corners of its box. All nodules of a located scan must be listed, or emptiness teaches that the
    others are background; those that are doubtful are listed as ignored, and their balls (10 mm
    where not measured) count neither as inside nor as outside. A nodule without a diameter has no
    size and no tightness, and emptiness spares a ball of 10 mm. Of a nodule whose centre is outside
    of the crop, only emptiness and lines across its visible part count.

    Args:
        tightness_weight: Weight of tightness.
        emptiness_weight: Weight of emptiness.
        size_weight: Weight of size.
        affinity_weight: Final weight of affinity; a term of weight 0 is not computed.
        affinity_rampup: Share of the training over which that weight grows: one label everywhere
            satisfies affinity too.
        core: Largest distance of a line from the centre, in radii, in (0, 1].
        depth: Least share of such a line's length in the box that is nodule, in [0, 1).
        line_width: Edge in voxels of the square of lines that is one instance bag.
        margin: Factor on radii: beyond it is background, within it probabilities count as size.
        hardest: Share of a crop's background that counts in emptiness, hardest first, in (0, 1].
        tolerance: Relative error of the diameter that size allows, in (0, 1).
        barrier: t of the log-barrier at the start and at the end.
        theta: Scale of intensity differences in affinity, as a share of the window of HU.

    Raises:
        ValueError: An option out of its range.

    Source: Hsu et al., NeurIPS 2019 (tightness); Kervadec et al., Bounding boxes for weakly
    supervised segmentation, MIDL 2020 (emptiness, size); Tian et al., BoxInst, CVPR 2021
    (affinity).
    """

    def __init__(
        self,
        *,
        tightness_weight: float = 0.5,
        emptiness_weight: float = 1.0,
        size_weight: float = 0.1,
        affinity_weight: float = 1.0,
        affinity_rampup: float = 0.2,
        core: float = 0.5,
        depth: float = 0.5,
        line_width: int = 1,
        margin: float = 1.5,
        hardest: float = 0.05,
        tolerance: float = 0.2,
        barrier: Sequence[float] = (5.0, 20.0),
        theta: float = 0.06,
    ) -> None:
        super().__init__()
        self.needs = Needs(views={"located": ("weak",)}, fields=("nodules", "spacing_mm"))
        self.tightness_ramp = Ramp(tightness_weight)
        self.emptiness_ramp = Ramp(emptiness_weight)
        self.size_ramp = Ramp(size_weight)
        self.affinity_ramp = Ramp(affinity_weight, affinity_rampup)
        self.core, self.depth, self.line_width = core, depth, line_width
        self.margin, self.hardest, self.tolerance, self.theta = margin, hardest, tolerance, theta
        self.barrier = _barrier(barrier)
        voxel = torch.zeros(1, 1, 1, 1, 1)  # the losses check the options, before a training starts
        self._losses(voxel, voxel, Balls.of(torch.zeros(1, 1, 5), torch.ones(1, 3)), t=1.0)

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `tightness`, `emptiness`, `size` and `affinity` of the located stream."""
        batch = step.batch("located")
        low, high = self.barrier
        losses = self._losses(
            step.out("located")["logits"],
            batch["weak"],
            Balls.of(batch["nodules"], batch["spacing_mm"]),
            t=low * (high / low) ** step.progress,
        )
        weights = {
            "tightness": self.tightness_ramp,
            "emptiness": self.emptiness_ramp,
            "size": self.size_ramp,
            "affinity": self.affinity_ramp,
        }
        return {name: Term(loss, weights[name](step.progress)) for name, loss in losses.items()}

    def _losses(
        self, logits: Tensor, image: Tensor, balls: Balls, *, t: float
    ) -> dict[str, Tensor]:
        certain = balls.certain(logits)
        losses = {
            "tightness": box_tightness_loss(
                logits,
                balls.measured,
                core=self.core,
                depth=self.depth,
                line_width=self.line_width,
                mask=certain,
            ),
            "emptiness": box_emptiness_loss(
                logits, balls.nodules, margin=self.margin, hardest=self.hardest, mask=certain
            ),
            "size": size_barrier_loss(
                logits,
                balls.measured,
                tolerance=self.tolerance,
                margin=self.margin,
                t=t,
                mask=certain,
            ),
        }
        if self.affinity_ramp.weight:
            region = nearest_ellipsoid(balls.nodules, logits, scale=self.margin)[:, None] > 0
            losses["affinity"] = pairwise_affinity_loss(
                logits, image, region=region, mask=certain, theta=self.theta
            )
        return losses


class Balls(NamedTuple):
    """Balls of a batch's findings, each `(B, N, 6)`: centre and half edges in voxels, or NaN.

    Attributes:
        nodules: All nodules, of 10 mm where not measured.
        measured: Those that were.
        ignored: Findings that are neither nodule nor background.
    """

    nodules: Tensor
    measured: Tensor
    ignored: Tensor

    @classmethod
    def of(cls, findings: Tensor, spacing_mm: Tensor) -> Balls:
        """Return the balls of a batch's `nodules`, `(B, N, 5)`, and `spacing_mm`, `(B, 3)`."""
        centre, diameter_mm, counted = torch.split(findings, [3, 1, 1], dim=-1)
        half = diameter_mm.nan_to_num(nan=UNMEASURED_MM) / 2 / spacing_mm[:, None]
        rows = torch.cat([centre, half], dim=-1)
        nodules = torch.where(counted == 1, rows, torch.nan)
        return cls(
            nodules,
            torch.where(diameter_mm.isnan(), torch.nan, nodules),
            torch.where(counted == 0, rows, torch.nan),
        )

    def certain(self, like: Tensor) -> Tensor:
        """Return `(B, 1, X, Y, Z)` bool: false in ignored balls, as far as they are no nodule."""
        ignored = nearest_ellipsoid(self.ignored, like) > 0
        return (~ignored | (nearest_ellipsoid(self.nodules, like) > 0))[:, None]


def _barrier(values: Sequence[float]) -> tuple[float, float]:
    low, high = values
    if not 0 < low <= high:
        raise ValueError(f"barrier must be two values above 0, low to high, got {list(values)}")
    return (low, high)
