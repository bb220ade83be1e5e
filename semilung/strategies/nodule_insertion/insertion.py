"""Synthetic nodule insertion: healthy crops become labelled data with exact masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semilung.losses import dice_ce_loss
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, metric, register
from semilung.strategies.nodule_insertion.host_crops import Insert, blended, find_place, study
from semilung.strategies.nodule_insertion.real_nodules import Cut, cut_out, fitted
from semilung.strategies.nodule_insertion.synthetic_nodules import draw_ellipsoid

ATTEMPTS = 3
"""Number of nodules tried for a crop before it stays healthy."""

Triple = tuple[float, float, float]


@register("nodule_insertion")
class NoduleInsertion(Strategy):
    r"""Synthetic nodule insertion: Dice and cross-entropy on healthy crops with inserted nodules.

    $$ x' = x + a \, (n - x) + \sqrt{a (2 - a)} \, \epsilon, \qquad y = [\, f \ge 1/2 \,] $$

    f is the share of a voxel that is nodule, a its soft-edged weight, n the nodule's intensity, ε
    noise like that of the host. Nodules are synthetic (textured, irregular ellipsoids: solid,
    part-solid or ground glass), or real ones from labelled crops of the same step. They lie in
    parenchyma, some next to a wall or vessel, never outside the lung; brighter structures show
    through. Crops without a position, and the share without insertion, are negatives.

    Args:
        weight: Final weight of the term.
        rampup: Share of the training over which the weight grows.
        inserted_share: Share of healthy crops to insert nodules into, in [0, 1].
        real_share: Share of those that get the nodules of a labelled crop, in [0, 1]; without
            any, synthetic nodules are inserted.
        touching_share: Share of nodules next to a wall or vessel, in [0, 1].
        diameter_mm: Smallest and largest diameter of a synthetic nodule; the median is 8 mm.
        zoom: Smallest and largest zoom of a real nodule.
        spacing_mm: Voxel size of the prepared volumes.
        window_hu: Range of HU that is scaled to [0, 1].

    Raises:
        ValueError: No voxel size, or an option out of its range.

    Source: Hu et al., Label-free liver tumor segmentation, CVPR 2023 (synthetic lesions).
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        rampup: float = 0.0,
        inserted_share: float = 0.5,
        real_share: float = 0.5,
        touching_share: float = 0.3,
        diameter_mm: Sequence[float] = (4.0, 28.0),
        zoom: Sequence[float] = (0.7, 1.4),
        spacing_mm: Sequence[float] | None = (1.0, 1.0, 1.0),
        window_hu: Sequence[float] = (-1000.0, 400.0),
    ) -> None:
        super().__init__()
        shares = {
            "inserted_share": inserted_share,
            "real_share": real_share,
            "touching_share": touching_share,
        }
        for name, share in shares.items():
            if not 0 <= share <= 1:
                msg = f"{name} must lie in [0, 1], got {share}"
                raise ValueError(msg)
        self.needs = Needs(
            views={"healthy": ("weak",)}, optional={"labelled": ("weak",)}, fields=("mask",)
        )
        self.ramp = Ramp(weight, rampup)
        self.inserted_share = inserted_share
        self.real_share = real_share
        self.touching_share = touching_share
        self.diameter_mm = _range("diameter_mm", diameter_mm, least=0.0)
        self.zoom = _range("zoom", zoom, least=0.0)
        self.spacing_mm = _spacing(spacing_mm)
        self.window_hu = _range("window_hu", window_hu)
        if self.window_hu[0] == self.window_hu[1]:
            raise ValueError(f"window_hu has no width: {self.window_hu}")

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `inserted` of the healthy stream, and the share of its crops with a nodule."""
        images, labels = self.insert(step)
        loss = dice_ce_loss(step.student(images)["logits"], labels)
        weight = self.ramp(step.progress)
        share = labels.flatten(1).any(1).float().mean()
        return {"inserted": Term(loss, weight), "inserted_share": metric(share)}

    @torch.no_grad()
    def insert(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return images `(B, 1, X, Y, Z)` and their exact masks, uint8 of the same shape."""
        healthy: Tensor = step.batch("healthy")["weak"]
        images, labels = healthy.clone(), torch.zeros_like(healthy, dtype=torch.uint8)
        chosen = torch.rand(len(healthy)) < self.inserted_share
        real = torch.rand(len(healthy)) < self.real_share
        donors = self._donors(step) if bool((chosen & real).any()) else []
        with torch.autocast(healthy.device.type, enabled=False):
            for i in chosen.nonzero()[:, 0].tolist():
                images[i, 0], labels[i, 0] = self._inserted(
                    healthy[i, 0], donors if bool(real[i]) else []
                )
        return images, labels

    def _inserted(self, image: Tensor, donors: list[Cut]) -> tuple[Tensor, Tensor]:
        """Return one crop `(X, Y, Z)` with nodules, and its mask."""
        low, high = self.window_hu
        hu = low + image.float() * (high - low)
        nodules: list[Cut | None] = [None]
        if donors:
            crops = sorted({donor.crop for donor in donors})
            crop = crops[int(torch.randint(len(crops), ()))]
            nodules = [donor for donor in donors if donor.crop == crop]
        now, label = hu, torch.zeros_like(image, dtype=torch.bool)
        for cut in nodules:
            result = self._placed(now, label, cut)
            if result is not None:
                now, label = result[0], label | result[1]
        scaled = ((now - low) / (high - low)).clamp(0, 1).to(image.dtype)
        return torch.where(now == hu, image, scaled), label

    def _placed(
        self, hu: Tensor, occupied: Tensor, cut: Cut | None
    ) -> tuple[Tensor, Tensor] | None:
        """Return HU with one more nodule and its mask, or None without a position."""
        host = study(hu, self.spacing_mm, occupied=occupied)
        touching = float(torch.rand(())) < self.touching_share
        for _ in range(ATTEMPTS):
            insert: Insert = (
                draw_ellipsoid(host, self.spacing_mm, self.diameter_mm)
                if cut is None
                else fitted(cut, host, self.spacing_mm, self.zoom)
            )
            place = find_place(host, insert, touching=touching)
            if place is not None:
                return blended(host, insert, place)
        return None

    def _donors(self, step: Step) -> list[Cut]:
        """Return the complete nodules of the labelled crops."""
        if not step.has("labelled"):
            return []
        low, high = self.window_hu
        labelled = step.batch("labelled")
        images, masks = labelled["weak"][:, 0].float(), labelled["mask"][:, 0]
        return [
            cut
            for crop, (image, mask) in enumerate(zip(images, masks, strict=True))
            for cut in cut_out(low + image * (high - low), mask, self.spacing_mm, crop=crop)
        ]


def _spacing(spacing_mm: Sequence[float] | None) -> Triple:
    if spacing_mm is None:
        msg = (
            "nodules are inserted in mm and need one voxel size for all scans: set "
            "data.spacing_mm, as in data.spacing_mm=[1,1,1] (null keeps each scan's voxel size)"
        )
        raise ValueError(msg)
    if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
        msg = f"spacing_mm must be three sizes above 0, got {list(spacing_mm)}"
        raise ValueError(msg)
    x, y, z = spacing_mm
    return (float(x), float(y), float(z))


def _range(
    name: str, bounds: Sequence[float], *, least: float = float("-inf")
) -> tuple[float, float]:
    if len(bounds) != 2 or not least < bounds[0] <= bounds[1]:
        msg = f"{name} must be a smallest and a largest value in order, got {list(bounds)}"
        raise ValueError(msg)
    return (float(bounds[0]), float(bounds[1]))
