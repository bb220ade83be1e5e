"""Bidirectional copy-paste (BCP) between labelled and unlabelled crops."""

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

    M is 0 in a box at a random position and 1 around it. Both mixes are segmented: voxels of the
    labelled crop are supervised by its mask, voxels of the unlabelled one by confident hard labels
    of the teacher, with `unlabelled_weight`; each part is a separate loss over its voxels. All
    confident nodules are used: keeping only the largest component, as for an organ, would teach
    that a lung has one nodule.

    Args:
        weight: Final weight of both terms; the ramp suppresses labels of an untrained teacher.
        rampup: Share of the training over which the weight grows.
        unlabelled_weight: Weight of the pseudo-labelled part; the labelled part has 1.
        threshold: Minimum confidence of a pseudo-labelled voxel, in [0, 1]; others are ignored. Up
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
        """Return `labelled` and `unlabelled`, the two parts of both mixes."""
        labelled, unlabelled = step.batch("labelled"), step.batch("unlabelled")
        pairs = max(len(labelled["weak"]), len(unlabelled["weak"]))
        image_l, mask_l = (_cycled(labelled[field], pairs) for field in ("weak", "mask"))
        image_u = _cycled(unlabelled["weak"], pairs)
        target = probabilities(step.teacher_out("unlabelled")["logits"])
        confident = confident_mask(target, self.threshold)
        pseudo = torch.where(confident, hard_labels(target).to(mask_l.dtype), IGNORE)
        mask_u = _cycled(pseudo, pairs)

        around = random_box(image_l, self.box)
        from_labelled = torch.cat([around, ~around])
        images = torch.where(from_labelled, _twice(image_l), _twice(image_u))
        logits = step.student(images)["logits"]
        masks = torch.where(from_labelled, _twice(mask_l), IGNORE)
        pseudo_labels = torch.where(from_labelled, IGNORE, _twice(mask_u))
        weight = self.ramp(step.progress)
        return {
            "labelled": Term(dice_ce_loss(logits, masks), weight),
            "unlabelled": Term(
                dice_ce_loss(logits, pseudo_labels), weight * self.unlabelled_weight
            ),
        }


def random_box(like: Tensor, share: float) -> Tensor:
    """Return M: false in a box at a random position of each sample, true around it.

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
    """Return `count` samples of x, repeated cyclically."""
    return x[torch.arange(count, device=x.device) % len(x)]


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])
