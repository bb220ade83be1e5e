"""Supervised characterization: the terms of the task characterization."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semilung.data import PreparedCase
from semilung.data.manifest.targets import Target, targets_of
from semilung.losses import ordinal_loss
from semilung.models import Head
from semilung.strategies.core.learner import Step
from semilung.strategies.core.nodule_pooling import (
    DESCRIPTIONS,
    GROUPS,
    SHELL_MM,
    STRIDE,
    pool_nodule,
)
from semilung.strategies.core.strategy import Needs, Strategy, Term, register
from semilung.types import IGNORE, UserError

STREAMS = ("labelled", "located")

CUT_SHARE = 0.1
"""Share of nodules at an end of their volume above which a training warns."""


@register("nodule_targets")
class NoduleTargets(Strategy):
    """Targets of each nodule (malignancy, texture, ...) from the columns of `nodules.csv`.

    A nodule counts in a crop that holds its centre. Missing values teach nothing. The loss of a
    target is cross-entropy (binary, classes), the cumulative link loss (ordinal) or the smooth
    absolute error (regression), a mean over a crop's nodules, then over crops.

    Args:
        targets: Column to its `kind` and `values` (`Target.of`).
        weight: Weight of each target's term.
        balanced: Weight classes inversely to their number among the training nodules.

    Raises:
        ValueError: No target, or an invalid one.
    """

    def __init__(
        self,
        *,
        targets: Mapping[str, Mapping[str, Any]] | None = None,
        weight: float = 1.0,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        self.targets = targets_of(targets)
        self.weight, self.balanced = weight, balanced
        self.needs = Needs(
            views={"labelled": ("weak",)},
            optional={"located": ("weak",)},
            fields=("nodules", "targets", "instances", "spacing_mm"),
            heads={DESCRIPTIONS: Head(GROUPS * sum(t.channels for t in self.targets), STRIDE)},
            tasks=("characterization",),
            targets=self.targets,
        )
        for target in self.targets:
            self.register_buffer(f"class_weights_{target.name}", torch.ones(len(target.values)))

    def before_training(self, streams: Mapping[str, Sequence[PreparedCase]]) -> None:
        """Count the classes among the training nodules.

        Raises:
            UserError: A target has fewer than two different values among them.

        Warns:
            UserWarning: Nodules reach the end of their volume, as in tight crops.
        """
        cases = [case for stream in STREAMS for case in streams.get(stream, ())]
        nodules = [nodule for case in cases for nodule in case.nodules if not nodule.ignored]
        _warn_of_cut_nodules(cases)
        for target in self.targets:
            numbers = [target.number(nodule.targets.get(target.name)) for nodule in nodules]
            labelled = torch.tensor([number for number in numbers if number == number])
            _require_values(target, labelled, len(nodules))
            if self.balanced and target.kind != "regression":
                counts = torch.bincount(labelled.long(), minlength=len(target.values))
                even = len(labelled) / int((counts > 0).sum())
                self._weights(target).copy_(even / counts.clamp(min=1))

    def terms(self, step: Step) -> dict[str, Term]:
        """Return a term for each target, such as `malignancy`."""
        streams = [stream for stream in STREAMS if step.has(stream)]
        crops = [crop for stream in streams for crop in self._crops(step, stream)]
        losses = torch.stack([torch.stack(self._losses(*crop)) for crop in crops]).mean(dim=0)
        return {
            target.name: Term(loss, self.weight)
            for target, loss in zip(self.targets, losses, strict=True)
        }

    def _crops(self, step: Step, stream: str) -> list[tuple[Tensor, Tensor]]:
        """Return outputs `(N, C)` and numbers `(N, T)` of the nodules of each crop."""
        batch, maps = step.batch(stream), step.out(stream)[DESCRIPTIONS]
        samples = (maps, batch["nodules"], batch["targets"], batch["spacing_mm"])
        shares = [None] * len(maps)
        if "instances" in batch:
            shares = list(nodule_share(batch["instances"]))
        size = batch["weak"].shape[2:]
        return [described(*sample, size) for sample in zip(*samples, shares, strict=True)]

    def _losses(self, outputs: Tensor, numbers: Tensor) -> list[Tensor]:
        channels = [target.channels for target in self.targets]
        parts = zip(self.targets, torch.split(outputs, channels, dim=1), numbers.T, strict=True)
        return [target_loss(t, part, column, self._weights(t)) for t, part, column in parts]

    def _weights(self, target: Target) -> Tensor:
        weights: Tensor = getattr(self, f"class_weights_{target.name}")
        return weights


def described(
    maps: Tensor,
    nodules: Tensor,
    targets: Tensor,
    spacing_mm: Tensor,
    share: Tensor | None,
    size: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Return outputs `(N, C)` and numbers `(N, T)` of the nodules whose centre is in a crop.

    Arguments are those of a sample, as the loader gives them.
    """
    extent = torch.tensor(size, device=nodules.device)
    centre, diameter_mm = nodules[:, :3], nodules[:, 3]
    inside = ((centre > -0.5) & (centre < extent - 0.5)).all(dim=1)  # False for padding
    chosen = inside & (nodules[:, 4] == 1) & ~diameter_mm.isnan()
    outputs = [
        pool_nodule(maps, place, shown_mm, spacing_mm.tolist(), mask=share, unzoomed_mm=mm)
        for (*place, shown_mm, _), (mm, *_) in zip(
            nodules[chosen].tolist(), targets[chosen].tolist(), strict=True
        )
    ]
    none = maps[: len(maps) // GROUPS].flatten(1).T[:0]  # every step has the head in its graph
    return torch.stack(outputs) if outputs else none, targets[chosen, 1:]


def nodule_share(instances: Tensor) -> Tensor:
    """Return the share of nodule in each voxel of the maps, `(B, X', Y', Z')`."""
    nodule = ((instances > 0) & (instances != IGNORE)).float()
    far_ends = [side for n in instances.shape[:1:-1] for side in (0, -n % STRIDE)]
    return F.avg_pool3d(F.pad(nodule, far_ends), STRIDE)[:, 0]


def target_loss(target: Target, outputs: Tensor, numbers: Tensor, weights: Tensor) -> Tensor:
    """Return the mean loss of a target over the nodules whose value is labelled; 0 for none.

    Args:
        target: Says which loss.
        outputs: `(N, C)`.
        numbers: `(N,)` class index or scaled value; NaN where missing.
        weights: `(K,)` of classes.
    """
    labelled = ~numbers.isnan()
    outputs, numbers = outputs[labelled].float(), numbers[labelled].float()
    if not len(numbers):
        return outputs.sum() * 0
    if target.kind == "regression":
        return F.smooth_l1_loss(outputs[:, 0], numbers, beta=0.1)
    if target.kind == "ordinal":
        return ordinal_loss(outputs, numbers, weights)
    classes = numbers.long()
    if target.kind == "binary":
        losses = F.binary_cross_entropy_with_logits(outputs[:, 0], numbers, reduction="none")
    else:
        losses = F.cross_entropy(outputs, classes, reduction="none")
    return (losses * weights[classes]).mean()


def _warn_of_cut_nodules(cases: Sequence[PreparedCase]) -> None:
    """Warn of nodules at the ends of their volumes, if they are more than `CUT_SHARE` of all."""
    counts, total = [0, 0, 0], 0
    for case in cases:
        nodules = [n for n in case.nodules if not n.ignored and n.diameter_mm]
        total += len(nodules)
        for nodule, axis in product(nodules, range(3)):
            voxel, spacing_mm = nodule.voxel[axis], case.spacing_mm[axis]
            reach = (nodule.diameter_mm or 0.0) / 2 / spacing_mm + 1  # in voxels, and one more
            counts[axis] += not reach <= voxel <= case.shape[axis] - 1 - reach
    axes = [
        f"{n} in {axis}" for axis, n in zip("xyz", counts, strict=True) if n > CUT_SHARE * total
    ]
    if axes:
        warnings.warn(
            f"of {total} nodules these reach the end of their volume: {', '.join(axes)}; their "
            f"surroundings, of {SHELL_MM:g} mm, are padded by mirroring in training and left out "
            f"in prediction: give scans or crops with a margin where you have them",
            stacklevel=3,
        )


def _require_values(target: Target, labelled: Tensor, nodules: int) -> None:
    if not len(labelled):
        raise UserError(
            f"no training nodule has a value of the target {target.name!r}: {nodules} nodules, "
            f"expected values {[list(value) for value in target.values]}; name a column of "
            f"nodules.csv and its values in tasks.characterization.targets"
        )
    if len(set(labelled.tolist())) < 2:
        raise UserError(
            f"all {len(labelled)} training nodules that have a value of the target {target.name!r} "
            f"have the same one: nothing can be learned; add nodules of other values, or leave the "
            f"target out"
        )
