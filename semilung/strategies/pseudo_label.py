"""Pseudo-labelling (FixMatch): confident labels of the weak view supervise the strong view."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from semilung.losses import (
    adaptive_threshold,
    confidence_statistics,
    confident_mask,
    hard_labels,
    probabilities,
    pseudo_label_loss,
)
from semilung.strategies.centre_detection import centre_focal_loss
from semilung.strategies.centre_detection.pseudo_centres import PseudoCentres
from semilung.strategies.core.centre_maps import CENTRES, centre_maps
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, metric, register
from semilung.types import IGNORE

Labeller = Literal["student", "teacher"]


@register("pseudo_label")
class PseudoLabel(Strategy):
    r"""Pseudo-labelling (FixMatch, FreeMatch): cross-entropy on confident hard labels.

    $$ L = w(t) \; \frac{\sum_x c(x) \, (-\log p_{k(x)}(x))}{\sum_x c(x)}, \qquad
       k(x) = \arg\max_k q_k(x), \quad c(x) = [\, q_k(x) \ge \tau_k \,] $$

    with p the student's probabilities on the strong view, q the labeller's on the weak one, and
    $w(t) = w \exp(-5 (1 - t / T)^2)$. A voxel below its threshold is ignored; it never becomes
    background. τ has one value for background and one for foreground. Adaptive ones follow
    the labeller's confidence, up to the fixed ones $\tau^*$:

    $$ \tau_k = \min\big(\tau^*_k, \max(\tau_f, \tfrac{\bar q_k}{\max_j \bar q_j} \bar q)\big)
    $$

    where $\bar q$ and $\bar q_k$ are moving averages, with decay α, of the mean confidence and of
    the mean probability of background and foreground, up to the previous step. They are buffers,
    updated once a step.

    Where nodules are rare, pseudo-labels and student may collapse to background. After the ramp-up,
    a warning is printed if the foreground share of the pseudo-labels is below a times that of the
    labelled masks. Labelled crops are sampled around nodules and unlabelled ones are not, so a has
    to be small.

    Where detection is a task, the labeller's confident peaks of the centre heatmap are the centres
    of a focal loss on the strong view; unsure peaks teach nothing within the predicted ball, and
    the rest is background (`PseudoCentres`). Thresholds of centres are not adaptive.

    Args:
        weight: w, the final weight of each task's term, at least 0.
        rampup: T in [0, 1], share of the training over which the weight grows.
        labeller: Net that labels the weak view: the `teacher` (moving average), or the `student`.
        threshold: τ* of background, and of foreground by default, in [0, 1].
        foreground_threshold: τ* of foreground, in [0, 1]; None means `threshold`.
        adaptive: Whether thresholds follow the labeller's confidence.
        floor: τ_f, the smallest adaptive threshold, in [0, 1].
        decay: α of the adaptive thresholds, in [0, 1).
        average: Whether to divide the sum by the number of `confident` voxels, as above, or of
            `all` voxels (FixMatch).
        alarm_below: a, 0 or more; 0 never warns.
        centre_threshold: Least probability of a peak that is a centre, at most 1.
        centre_floor: Least probability of an unsure peak, above 0, at most `centre_threshold`.

    Raises:
        ValueError: An option out of its range.

    Source: Sohn et al., FixMatch, NeurIPS 2020; ignored voxels as in Yang et al., UniMatch, CVPR
    2023; adaptive thresholds of Wang et al., FreeMatch, ICLR 2023.
    """

    confidence: Tensor
    class_probs: Tensor

    def __init__(
        self,
        *,
        weight: float = 0.5,
        rampup: float = 0.4,
        labeller: Labeller = "teacher",
        threshold: float = 0.95,
        foreground_threshold: float | None = None,
        adaptive: bool = False,
        floor: float = 0.7,
        decay: float = 0.99,
        average: Literal["confident", "all"] = "confident",
        alarm_below: float = 0.005,
        centre_threshold: float = 0.7,
        centre_floor: float = 0.1,
    ) -> None:
        super().__init__()
        if labeller not in get_args(Labeller):
            msg = f"labeller must be one of {', '.join(get_args(Labeller))}, got {labeller!r}"
            raise ValueError(msg)
        if average not in ("confident", "all"):
            raise ValueError(f"average must be confident or all, got {average!r}")
        both = (threshold, threshold if foreground_threshold is None else foreground_threshold)
        if not all(0 <= share <= 1 for share in (*both, floor)) or not 0 <= decay < 1:
            msg = (
                "thresholds and floor must be in [0, 1] and decay in [0, 1), got "
                f"{both}, {floor} and {decay}"
            )
            raise ValueError(msg)
        self.needs = Needs(
            views={"unlabelled": ("strong", "weak")},
            optional={"labelled": ()},  # only its masks, for the alarm
            teacher=labeller == "teacher",
            tasks=("segmentation", "detection"),
            task_fields={"segmentation": ("mask",), "detection": ("spacing_mm",)},
        )
        self.ramp = Ramp(weight, rampup)
        self.labeller = labeller
        self.fixed = both
        self.adaptive = adaptive
        self.floor = floor
        self.decay = decay
        self.average = average
        self.alarm = CollapseAlarm(below=alarm_below)
        self.pseudo_centres = PseudoCentres(centre_threshold, centre_floor)
        self.register_buffer("confidence", torch.tensor(0.5))
        self.register_buffer("class_probs", torch.full((2,), 0.5))
        self._statistics: tuple[Tensor, Tensor] | None = None

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `pseudo_label` and `pseudo_centres` of the unlabelled stream, and metrics.

        Metrics are shares and thresholds of voxels, and the number of centres in a crop.
        """
        labels, student = self._label(step), step.out("unlabelled", "strong")
        terms: dict[str, Term] = {}
        if "logits" in student:
            terms |= self._voxels(step, student["logits"], probabilities(labels["logits"]))
        if CENTRES in student:
            terms |= self._centres(step, student[CENTRES], labels)
        return terms

    def _voxels(self, step: Step, student: Tensor, target: Tensor) -> dict[str, Term]:
        thresholds = self.thresholds()
        per_class = _of_classes(thresholds, max(target.shape[1], 2))
        confident = confident_mask(target, per_class)
        loss = pseudo_label_loss(student, target, threshold=per_class, average=self.average)
        shares = torch.stack([confident, confident & (hard_labels(target) > 0)])
        confident_share, foreground = shares.float().flatten(1).mean(1)

        self._statistics = confidence_statistics(_foreground(target))
        if step.has("labelled"):
            self.alarm.record(confident_share, foreground, step.batch("labelled")["mask"])
        terms = {
            "pseudo_label": Term(loss, self.ramp(step.progress)),
            "confident_share": metric(confident_share),
            "foreground_share": metric(foreground / confident_share.clamp(min=1e-12)),
        }
        if self.adaptive:
            terms["threshold_background"] = metric(thresholds[0])
            terms["threshold_foreground"] = metric(thresholds[1])
        return terms

    def _centres(self, step: Step, student: Tensor, labels: dict[str, Tensor]) -> dict[str, Term]:
        targets = self.pseudo_centres.targets(labels, step.batch("unlabelled"))
        loss = centre_focal_loss(centre_maps(student), targets)
        return {
            "pseudo_centres": Term(loss, self.ramp(step.progress)),
            "centres_per_crop": metric(targets.centre.sum() / len(student)),
            "unsure_share": metric((targets.weight == 0).float().mean()),
        }

    def thresholds(self) -> Tensor:
        """Return the thresholds `(2,)` of background and foreground at this step."""
        fixed = torch.tensor(self.fixed, device=self.class_probs.device)
        if not self.adaptive:
            return fixed
        adaptive = adaptive_threshold(self.confidence, self.class_probs, bounds=(self.floor, 1.0))
        return torch.minimum(adaptive, fixed)

    def after_step(self, progress: float) -> None:
        """Update the averages with the step's statistics, and check for a collapse."""
        if self._statistics is not None:
            averages = (self.confidence, self.class_probs)
            for average, value in zip(averages, self._statistics, strict=True):
                average.lerp_(value.to(average), 1 - self.decay)
            self._statistics = None
        self.alarm.after_step(watch=progress >= self.ramp.length)

    def _label(self, step: Step) -> dict[str, Tensor]:
        """Return the labeller's outputs on the weak view, without gradient."""
        if self.labeller == "teacher":
            return step.teacher_out("unlabelled")
        return {name: output.detach() for name, output in step.out("unlabelled").items()}


class CollapseAlarm(nn.Module):
    """Warning, once, that pseudo-labels have collapsed to background.

    The buffers are running means over about the last `horizon` steps: of the share of confident
    voxels, of confident foreground, and of foreground in the labelled masks.

    Args:
        below: Ratio of pseudo-labelled to labelled foreground below which to warn.
        horizon: Steps of the running means, and before the first warning.
    """

    means: Tensor
    steps: Tensor

    def __init__(self, *, below: float, horizon: int = 100) -> None:
        super().__init__()
        self.below = below
        self.horizon = horizon
        self.register_buffer("means", torch.zeros(3))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self._shares: Tensor | None = None
        self._warned = False

    def record(self, confident: Tensor, foreground: Tensor, masks: Tensor) -> None:
        """Record the shares of confident voxels and foreground of a step, and its masks."""
        valid = (masks != IGNORE).sum().clamp(min=1)
        labelled = ((masks > 0) & (masks != IGNORE)).sum() / valid
        self._shares = torch.stack([confident, foreground, labelled]).float()

    def after_step(self, *, watch: bool) -> None:
        """Update the means; warn of a collapse if `watch` is set."""
        if self._shares is None:
            return
        self.steps.add_(1)
        steps = int(self.steps)
        self.means.lerp_(self._shares.to(self.means), 1 / min(steps, self.horizon))
        self._shares = None
        if watch and steps >= self.horizon and not self._warned:
            confident, foreground, labelled = self.means.tolist()
            if confident > 0 and foreground / confident < self.below * labelled:
                self._warned = True
                self._warn(foreground / confident, labelled)

    def _warn(self, pseudo: float, labelled: float) -> None:
        warnings.warn(
            f"pseudo-labels are collapsing to background: over the last {self.horizon} steps "
            f"{pseudo:.4%} of the confident voxels are nodule, compared with {labelled:.4%} of the "
            "labelled masks. Lower strategies.pseudo_label.foreground_threshold or its weight, or "
            "lengthen its rampup; if the unlabelled scans really have so few nodules, lower its "
            "alarm_below",
            stacklevel=2,
        )


def _of_classes(thresholds: Tensor, classes: int) -> Tensor:
    """Return the threshold of each class; all foreground classes share one."""
    return torch.cat([thresholds[:1], thresholds[1:].expand(classes - 1)])


def _foreground(probs: Tensor) -> Tensor:
    """Return the probability of all foreground classes as one channel."""
    return probs if probs.shape[1] == 1 else 1 - probs[:, :1]
