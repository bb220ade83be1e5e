"""Targets of centre detection from the peaks of another net's centre maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semilung.data.loading.crop_nodules import pad_nodules
from semilung.strategies.centre_detection.centre_targets import CentreTargets, centre_targets
from semilung.strategies.core.centre_maps import CENTRES, DIAMETERS_MM, STRIDE, centre_maps
from semilung.types import StreamBatch

MOST = 100
"""Peaks of a crop, the most probable ones: as many as LUNA16 evaluates of a whole scan."""

_WITHIN_VOXEL = (-0.5, 0.499)


@dataclass(frozen=True)
class PseudoCentres:
    r"""Pseudo-labels of centres: confident peaks are nodules, unsure ones teach nothing.

    A peak is a voxel of the maps that none of its 26 neighbours exceeds. With p its probability, it
    is a centre where p >= threshold, with the offset and diameter that are predicted there. Where
    floor <= p < threshold, the ball of the predicted diameter has weight 0. The rest is background.

    The focal loss makes nets less certain than they are right: at its minimum (exponent 2), p is
    0.7 where 91 % of the voxels alike are centres. Early nets see nodules at p below 0.3, and the
    floor has to be lower still, so that these do not become background.

    Args:
        threshold: Least p of a centre, at most 1.
        floor: Least p of an unsure peak, above 0, at most the threshold.

    Raises:
        ValueError: A value out of its range.
    """

    threshold: float
    floor: float

    def __post_init__(self) -> None:
        if not 0 < self.floor <= self.threshold <= 1:
            raise ValueError(
                f"centre_floor and centre_threshold must satisfy 0 < floor <= threshold <= 1, got "
                f"{self.floor} and {self.threshold}"
            )

    @torch.no_grad()
    def targets(self, outputs: Mapping[str, Tensor], batch: StreamBatch) -> CentreTargets:
        """Return the targets that a net's outputs on the weak view make, without gradient.

        Args:
            outputs: Of the net that labels.
            batch: The samples, of which `weak` and `spacing_mm` are read.
        """
        maps = centre_maps(outputs[CENTRES].detach().float())
        rows = [self._peaks(*sample) for sample in zip(*maps, strict=True)]
        size = batch["weak"].shape[2:]
        return centre_targets(pad_nodules(rows), batch["spacing_mm"], size)

    def _peaks(self, logits: Tensor, offset: Tensor, log_diameter: Tensor) -> Tensor:
        """Return the peaks of a sample as nodules `(N, 5)`; unsure ones as ignored findings."""
        # logits, not probabilities: those of several voxels round to 1
        peaks = logits == F.max_pool3d(logits, 3, stride=1, padding=1)
        values = torch.where(peaks & (logits >= _logit(self.floor)), logits, -torch.inf).flatten()
        best = values.topk(min(MOST, len(values)))
        voxels = best.indices[best.values > -torch.inf]
        places = torch.stack(torch.unravel_index(voxels, logits.shape[1:]), dim=1)
        # a peak says that the centre lies in its voxel, whatever an offset that has not learnt yet
        places = places + offset.flatten(1)[:, voxels].T.clamp(*_WITHIN_VOXEL)
        diameter_mm = log_diameter.flatten()[voxels].exp().clamp(*DIAMETERS_MM)
        confident = logits.flatten()[voxels] >= _logit(self.threshold)
        image = (places + 0.5) * STRIDE - 0.5
        return torch.cat([image, diameter_mm[:, None], confident[:, None]], dim=1)


def _logit(p: float) -> float:
    return math.log(p / (1 - p)) if p < 1 else math.inf
