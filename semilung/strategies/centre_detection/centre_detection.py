"""Supervised centre detection: the terms of the task detection."""

from __future__ import annotations

from torch import Tensor

from semilung.losses import heatmap_focal_loss, masked_l1_loss
from semilung.strategies.centre_detection.centre_targets import CentreTargets, centre_targets
from semilung.strategies.core.centre_maps import CENTRES, SIZE, CentreMaps, centre_maps
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register


@register("centre_detection")
class CentreDetection(Strategy):
    """Centre detection (CenterNet): focal loss of centre heatmaps, no centre on healthy crops.

    Learns from centres and diameters alone, those of `nodules.csv` or of the masks' nodules.
    Ignored findings teach nothing. The healthy term exists if the data has a healthy stream, and so
    does a second heatmap term, of located scans (`data.batch.located`).

    Args:
        offset_weight: Weight of the sub-voxel offset's absolute error, in voxels of the maps.
        diameter_weight: Weight of the log-diameter's absolute error.
        healthy_weight: Final weight of the healthy term.
        healthy_rampup: Share of the training over which it grows.

    Source: Zhou et al., Objects as points, 2019.
    """

    def __init__(
        self,
        *,
        offset_weight: float = 1.0,
        diameter_weight: float = 1.0,
        healthy_weight: float = 1.0,
        healthy_rampup: float = 0.0,
    ) -> None:
        super().__init__()
        self.needs = Needs(
            views={"labelled": ("weak",)},
            optional={"healthy": ("weak",), "located": ("weak",)},
            fields=("nodules", "spacing_mm"),
            heads={CENTRES: SIZE},
            tasks=("detection",),
        )
        self.offset_weight, self.diameter_weight = offset_weight, diameter_weight
        self.healthy_ramp = Ramp(healthy_weight, healthy_rampup)

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `labelled`, `offset`, `diameter`; `located` and `healthy` of such streams."""
        maps, targets = self._stream(step, "labelled")
        offset = masked_l1_loss(maps.offset, targets.offset, targets.centre)
        diameter = masked_l1_loss(maps.log_diameter, targets.log_diameter, targets.measured)
        terms = {
            "labelled": Term(centre_focal_loss(maps, targets)),
            "offset": Term(offset, self.offset_weight),
            "diameter": Term(diameter, self.diameter_weight),
        }
        if step.has("located"):
            terms["located"] = Term(centre_focal_loss(*self._stream(step, "located")))
        if step.has("healthy"):
            healthy = centre_focal_loss(*self._stream(step, "healthy"))
            terms["healthy"] = Term(healthy, self.healthy_ramp(step.progress))
        return terms

    def _stream(self, step: Step, stream: str) -> tuple[CentreMaps, CentreTargets]:
        batch = step.batch(stream)
        size = batch["weak"].shape[2:]
        targets = centre_targets(batch["nodules"], batch["spacing_mm"], size)
        return centre_maps(step.out(stream)[CENTRES]), targets


def centre_focal_loss(maps: CentreMaps, targets: CentreTargets) -> Tensor:
    """Return the focal loss of a centre heatmap, a mean over samples."""
    return heatmap_focal_loss(maps.logits, targets.heatmap, weight=targets.weight)
