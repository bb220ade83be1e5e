"""Pseudo-labels: what the net is sure of on the weak view teaches it on the strong one."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from semilung.losses import (
    adaptive_threshold,
    confidence_statistics,
    confident_mask,
    hard_labels,
    probabilities,
    pseudo_label_loss,
)
from semilung.strategies.base import Needs, Strategy, Term, figure, register
from semilung.strategies.learner import Step
from semilung.strategies.ramps import sigmoid_rampup

_MEMORY = 0.99
"""Decay of the running means, about a hundred steps long."""


@register("pseudo_label")
class PseudoLabel(Strategy):
    r"""Cross-entropy of the strong view against confident hard labels of the weak view.

    $$ L = w(t) \; \frac{\sum_x c(x) \, (-\log p_{k(x)}(x))}{\sum_x c(x)}, \qquad
       k = \arg\max_c q_c, \quad c(x) = [\, q_k(x) \ge \tau_k \,] $$

    q is the labeller's prediction on the weak view. A voxel below the threshold is ignored and
    never becomes background. The threshold is fixed, or follows the labeller's confidence class by
    class, from `floor` up to `threshold`. The shares of confident voxels, and of those that are
    called nodule, are logged. Where the latter fall to nearly nothing of what the masks hold, the
    labels have collapsed to background, and a warning says so.

    Args:
        weight: w, the final weight of the term.
        rampup: Share of the training over which the weight grows.
        labeller: Who labels: `teacher` (the moving average) or `student`.
        threshold: τ in [0, 1]; the largest one where it adapts.
        adaptive: Whether τ follows the confidence, class by class.
        floor: Smallest adaptive τ, in [0, threshold].
        average: `confident` divides by the confident voxels, `all` by all of them.
        alarm_below: Share of the masks' nodule voxels under which the labels count as collapsed.
        classes: Classes that the student tells apart, background included.

    Raises:
        ValueError: Another `labeller`, or bounds that are no bounds.

    Source: Sohn et al., FixMatch, NeurIPS 2020; Wang et al., FreeMatch, ICLR 2023 (adaptive).
    """

    confidence: Tensor
    class_probs: Tensor
    shares: Tensor

    def __init__(
        self,
        *,
        weight: float = 0.5,
        rampup: float = 0.4,
        labeller: Literal["teacher", "student"] = "teacher",
        threshold: float = 0.95,
        adaptive: bool = False,
        floor: float = 0.7,
        average: Literal["confident", "all"] = "confident",
        alarm_below: float = 0.02,
        classes: int = 2,
    ) -> None:
        super().__init__()
        if labeller not in ("teacher", "student"):
            msg = f"labeller must be 'teacher' or 'student', got {labeller!r}"
            raise ValueError(msg)
        if not 0 <= floor <= threshold <= 1:
            msg = f"0 <= floor <= threshold <= 1 must hold, got {floor} and {threshold}"
            raise ValueError(msg)
        self.needs = Needs(
            views={"unlabelled": ("strong", "weak")},
            fields=("mask",),
            teacher=labeller == "teacher",
        )
        self.weight = weight
        self.rampup = rampup
        self.threshold = threshold
        self.adaptive = adaptive
        self.floor = floor
        self.average = average
        self.alarm_below = alarm_below
        self.register_buffer("confidence", torch.tensor(1 / classes))
        self.register_buffer("class_probs", torch.full((classes,), 1 / classes))
        self.register_buffer("shares", torch.zeros(2))  # nodule voxels: of labels, of masks
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None
        self._alarmed = False

    def terms(self, step: Step) -> dict[str, Term]:
        """`pseudo_label` on the unlabelled stream, and the shares of its labels."""
        taught = self._label(step)
        threshold = self._threshold()
        loss = pseudo_label_loss(
            step.out("unlabelled", "strong")["logits"],
            taught,
            threshold=threshold,
            average=self.average,
        )
        confident = confident_mask(taught, threshold)
        nodule = (confident & (hard_labels(taught) > 0)).float().mean()
        held = (step.batch("labelled")["mask"] == 1).float().mean() if step.has("labelled") else 0.0
        shares = torch.stack([nodule, torch.as_tensor(held).to(nodule)])
        self._seen = (*confidence_statistics(taught), shares)
        weight = self.weight * sigmoid_rampup(step.progress, self.rampup)
        return {
            "pseudo_label": Term(loss, weight),
            "confident_share": figure(confident.float().mean()),
            "nodule_share": figure(nodule),
            "nodule_threshold": figure(torch.as_tensor(threshold).reshape(-1)[-1]),
        }

    def after_step(self, progress: float) -> None:
        """Move the running means by this step's labels; warn where these have collapsed."""
        if self._seen is None:
            return
        for mean, now in zip(
            (self.confidence, self.class_probs, self.shares), self._seen, strict=True
        ):
            mean.lerp_(now.to(mean), 1 - _MEMORY)
        labels, masks = self.shares.tolist()
        if progress > self.rampup and labels < self.alarm_below * masks and not self._alarmed:
            self._alarmed = True
            warnings.warn(
                f"pseudo-labels have collapsed to background: {labels:.1e} of their voxels are "
                f"nodule, {masks:.1e} of the labelled masks' voxels. Lower "
                "strategies.pseudo_label.threshold, lengthen its rampup, or lower its weight",
                stacklevel=2,
            )

    def _label(self, step: Step) -> Tensor:
        weak: Tensor = step.batch("unlabelled")["weak"]
        with torch.no_grad():
            out = step.teacher(weak) if self.needs.teacher else step.student(weak)
        return probabilities(out["logits"])

    def _threshold(self) -> float | Tensor:
        if not self.adaptive:
            return self.threshold
        return adaptive_threshold(
            self.confidence, self.class_probs, bounds=(self.floor, self.threshold)
        )
