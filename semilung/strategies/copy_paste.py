"""Bidirectional copy-paste: labelled and unlabelled crops exchange a box and its labels."""

from __future__ import annotations

import torch
from torch import Tensor

from semilung.losses import confident_mask, dice_ce_loss, hard_labels, probabilities
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register
from semilung.types import IGNORE


@register("copy_paste")
class CopyPaste(Strategy):
    r"""Bidirectional copy-paste (BCP): Dice and cross-entropy on labelled-unlabelled mixes.

    $$ x_{in} = M x_l + (1 - M) x_u, \qquad x_{out} = M x_u + (1 - M) x_l $$

    M is 0 in a box at a random place and 1 around it. The student learns both mixes: where a voxel
    stems from the labelled crop, by its mask; where it stems from the unlabelled one, by the
    teacher's hard label where that is sure, and this part weighs `unlabelled_weight`. Each part is
    a loss of its own over its own voxels. All confident nodules are kept: keeping only the largest
    component, as for an organ, would teach that a lung has one nodule.

    Args:
        weight: Final weight of the term; the ramp keeps labels of an untrained teacher out.
        rampup: Share of the training over which the weight grows.
        unlabelled_weight: Weight of the pseudo-labelled part; the labelled part has 1.
        threshold: Least confidence of a pseudo-labelled voxel, in [0, 1]; others are ignored. Up
            to 1/2 all voxels count, as published.
        box: Edge of the box as a share of the crop's, in (0, 1).

    Raises:
        ValueError: `box` or `threshold` out of range.

    Source: Bai et al., Bidirectional copy-paste for semi-supervised medical image segmentation,
    CVPR 2023.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        rampup: float = 0.4,
        unlabelled_weight: float = 0.5,
        threshold: float = 0.0,
        box: float = 0.667,
    ) -> None:
        super().__init__()
        if not 0 < box < 1:
            msg = f"box must lie between 0 and 1, got {box}"
            raise ValueError(msg)
        if not 0 <= threshold <= 1:
            msg = f"threshold must lie in [0, 1], got {threshold}"
            raise ValueError(msg)
        self.needs = Needs(
            views={"labelled": ("weak",), "unlabelled": ("weak",)}, fields=("mask",), teacher=True
        )
        self.ramp = Ramp(weight, rampup)
        self.unlabelled_weight = unlabelled_weight
        self.threshold = threshold
        self.box = box

    def terms(self, step: Step) -> dict[str, Term]:
        """`labelled` and `unlabelled`, the two parts of both mixes."""
        labelled, unlabelled = step.batch("labelled"), step.batch("unlabelled")
        pairs = max(len(labelled["weak"]), len(unlabelled["weak"]))
        image_l, mask_l = (_cycled(labelled[field], pairs) for field in ("weak", "mask"))
        image_u = _cycled(unlabelled["weak"], pairs)
        target = probabilities(step.teacher_out("unlabelled")["logits"])
        sure = confident_mask(target, self.threshold)
        taught = torch.where(sure, hard_labels(target).to(mask_l.dtype), IGNORE)
        mask_u = _cycled(taught, pairs)

        around = random_box(image_l, self.box)
        from_labelled = torch.cat([around, ~around])
        images = torch.where(from_labelled, _twice(image_l), _twice(image_u))
        logits = step.student(images)["logits"]
        known = torch.where(from_labelled, _twice(mask_l), IGNORE)
        guessed = torch.where(from_labelled, IGNORE, _twice(mask_u))
        weight = self.ramp(step.progress)
        return {
            "labelled": Term(dice_ce_loss(logits, known), weight),
            "unlabelled": Term(dice_ce_loss(logits, guessed), weight * self.unlabelled_weight),
        }


def random_box(like: Tensor, share: float) -> Tensor:
    """M: false in a box at a random place, one a sample, and true around it.

    Args:
        like: `(B, C, *spatial)`, of any size.
        share: Edge of the box as a share of the crop's.

    Returns:
        `(B, 1, *spatial)` bool.
    """
    around = torch.ones_like(like[:, :1], dtype=torch.bool)
    for sample in around[:, 0]:
        box = sample
        for axis, size in enumerate(sample.shape):
            edge = max(1, round(share * size))
            start = int(torch.randint(size - edge + 1, ()))
            box = box.narrow(axis, start, edge)
        box.fill_(False)
    return around


def _cycled(x: Tensor, count: int) -> Tensor:
    """`count` samples of x, from the first on again where it has fewer."""
    return x[torch.arange(count, device=x.device) % len(x)]


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])
