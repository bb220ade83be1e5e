"""Cross pseudo supervision (CPS) of two students with different initial weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from semilung.losses import cross_pseudo_loss
from semilung.strategies.centre_detection import CentreDetection, centre_focal_loss
from semilung.strategies.centre_detection.pseudo_centres import PseudoCentres
from semilung.strategies.core.centre_maps import CENTRES, centre_maps
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register
from semilung.strategies.supervised import Supervised
from semilung.types import StreamBatch


@register("cross_pseudo")
class CrossPseudo(Strategy):
    r"""Cross pseudo supervision (CPS): two students learn from each other's hard labels.

    $$ L = w(t) \big( \mathrm{CE}(p_1, \arg\max p_2) + \mathrm{CE}(p_2, \arg\max p_1) \big) $$

    The second student has the same architecture and other initial weights. It is trained on masks
    and healthy crops with the same base terms as the first, which alone is used for prediction.

    Where detection is a task, CE is the focal loss of the centre heatmap and the hard labels are
    the other's confident peaks; unsure ones teach nothing (`PseudoCentres`).

    Args:
        weight: w, the final weight of each task's term on each stream.
        rampup: Share of the training over which the weight grows.
        labelled: Whether to apply the terms to labelled crops too.
        base: Options of `supervised` for the second student.
        centre_base: Options of `centre_detection` for the second student.
        centre_threshold: Least probability of a peak that is a centre, at most 1.
        centre_floor: Least probability of an unsure peak, above 0, at most `centre_threshold`.

    Raises:
        ValueError: An option out of its range.

    Source: Chen et al., Semi-supervised semantic segmentation with cross pseudo supervision,
    CVPR 2021.
    """

    second: nn.Module

    def __init__(
        self,
        *,
        weight: float = 0.5,
        rampup: float = 0.4,
        labelled: bool = True,
        base: Mapping[str, Any] | None = None,
        centre_base: Mapping[str, Any] | None = None,
        centre_threshold: float = 0.7,
        centre_floor: float = 0.1,
    ) -> None:
        super().__init__()
        self.base = Supervised(**(base or {}))
        self.centre_base = CentreDetection(**(centre_base or {}))
        self.needs = Needs(
            views={**self.base.needs.views, "unlabelled": ("weak",)},
            optional=self.base.needs.optional,
            tasks=("segmentation", "detection"),
            task_fields={
                "segmentation": self.base.needs.fields,
                "detection": self.centre_base.needs.fields,
            },
        )
        self.ramp = Ramp(weight, rampup)
        self.crossed = ("labelled", "unlabelled") if labelled else ("unlabelled",)
        self.pseudo_centres = PseudoCentres(centre_threshold, centre_floor)

    def attach(self, make_student: Callable[[], nn.Module]) -> None:
        """Create the second student."""
        self.second = make_student()

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `unlabelled` (and `labelled`), and the second student's terms as `second_...`.

        Those of detection have `centre_` before the name of the stream or term.
        """
        other = step.with_student(self.second)
        weight = self.ramp(step.progress)
        terms: dict[str, Term] = {}
        for stream in self.crossed:
            one, two = step.out(stream), other.out(stream)
            if "logits" in one:
                value = cross_pseudo_loss(one["logits"], two["logits"])
                terms[stream] = Term(value, weight)
            if CENTRES in one:
                batch = step.batch(stream)
                value = self._centres(one, two, batch) + self._centres(two, one, batch)
                terms[f"centre_{stream}"] = Term(value, weight)
        outputs = other.out("labelled")
        if "logits" in outputs:
            terms |= {f"second_{k}": v for k, v in self.base.terms(other).items()}
        if CENTRES in outputs:
            terms |= {f"second_centre_{k}": v for k, v in self.centre_base.terms(other).items()}
        return terms

    def _centres(
        self, outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], batch: StreamBatch
    ) -> Tensor:
        """Return the focal loss of one student against the peaks of the other."""
        targets = self.pseudo_centres.targets(labels, batch)
        return centre_focal_loss(centre_maps(outputs[CENTRES]), targets)
