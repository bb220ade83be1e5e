"""Cross pseudo supervision (CPS) of two students with different initial weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from semilung.losses import cross_pseudo_loss
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, register
from semilung.strategies.supervised import Supervised


@register("cross_pseudo")
class CrossPseudo(Strategy):
    r"""Cross pseudo supervision (CPS): two students learn from each other's hard labels.

    $$ L = w(t) \big( \mathrm{CE}(p_1, \arg\max p_2) + \mathrm{CE}(p_2, \arg\max p_1) \big) $$

    The second student has the same architecture and other initial weights. It is trained on masks
    and healthy crops with the same base terms as the first, which alone is used for prediction.

    Args:
        weight: w, the final weight of the term on each stream.
        rampup: Share of the training over which the weight grows.
        labelled: Whether to apply the term to labelled crops too.
        base: Options of `supervised` for the second student.

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
    ) -> None:
        super().__init__()
        self.base = Supervised(**(base or {}))
        self.needs = Needs(
            views={**self.base.needs.views, "unlabelled": ("weak",)},
            optional=self.base.needs.optional,
            fields=self.base.needs.fields,
        )
        self.ramp = Ramp(weight, rampup)
        self.crossed = ("labelled", "unlabelled") if labelled else ("unlabelled",)

    def attach(self, make_student: Callable[[], nn.Module]) -> None:
        """Create the second student."""
        self.second = make_student()

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `unlabelled` (and `labelled`), and the second student's terms as `second_...`."""
        other = step.with_student(self.second)
        weight = self.ramp(step.progress)
        crossed = {
            stream: Term(
                cross_pseudo_loss(step.out(stream)["logits"], other.out(stream)["logits"]), weight
            )
            for stream in self.crossed
        }
        base = self.base.terms(other)
        return crossed | {f"second_{name}": term for name, term in base.items()}
