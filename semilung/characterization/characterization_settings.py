"""Settings of a study of what nodules' features say about a target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from semilung.bounds import require_bounds
from semilung.data.manifest.targets import Target
from semilung.types import UserError

MODELS = ("logistic", "boosting")
"""Kinds of model that are fitted to radiomic features."""

Spelling = str | float | bool
"""A value of a target as it is written in its table."""


@dataclass(frozen=True)
class CharacterizationSettings:
    """Target, folds and models of a nested cross-validation.

    Attributes:
        target: Column of nodules.csv.
        negative: Values of it that are the negative class.
        positive: Values that are the positive class; all others are left out.
        source: Value of the column `source` whose nodules are used; empty where there is only one.
        external_target: Column of the table of a second evaluation.
        external_negative: Its values of the negative class.
        external_positive: Its values of the positive class.
        external_source: As `source`, of that table.
        folds: Number of outer folds.
        inner_folds: Number of folds within which hyperparameters are chosen.
        repeats: Number of times that all is split anew.
        seed: Of all splits, fits and resamples.
        models: Kinds of model, of logistic and boosting.
        stability: Least ICC of a feature, where a table of stability is given.
        redundancy: Of two features with a higher |Spearman correlation|, one is dropped.
        bootstraps: Number of resamples of patients.
        size_bins_mm: Limits between the bins of diameters that are evaluated on their own.

    Raises:
        UserError: A value is out of its range.
    """

    target: str = "malignancy"
    negative: tuple[Spelling, ...] = (1, 2)
    positive: tuple[Spelling, ...] = (4, 5)
    source: str = ""
    external_target: str = "malignant"
    external_negative: tuple[Spelling, ...] = (0,)
    external_positive: tuple[Spelling, ...] = (1,)
    external_source: str = ""
    folds: int = 5
    inner_folds: int = 5
    repeats: int = 5
    seed: int = 0
    models: tuple[str, ...] = MODELS
    stability: float = 0.75
    redundancy: float = 0.9
    bootstraps: int = 2000
    size_bins_mm: tuple[float, ...] = (6.0, 15.0)

    def __post_init__(self) -> None:
        require_bounds(self, "characterize")
        if not self.models or set(self.models) - {*MODELS}:
            raise UserError(
                f"characterize.models={[*self.models]} must name at least one of "
                f"{', '.join(MODELS)}"
            )
        if [*self.size_bins_mm] != sorted(set(self.size_bins_mm)):
            raise UserError(
                f"characterize.size_bins_mm={[*self.size_bins_mm]} must ascend; give limits in mm, "
                f"such as [6,15]"
            )
        for target in (self.binary_target, self.external):
            target()  # its values are checked

    def binary_target(self) -> Target:
        """Return the target with its two classes."""
        return _target(self.target, self.negative, self.positive)

    def external(self) -> Target:
        """Return the target of the second evaluation."""
        return _target(self.external_target, self.external_negative, self.external_positive)

    def bins_mm(self) -> list[tuple[float, float]]:
        """Return the bins of diameters, `[low, high)` in mm."""
        limits = [0.0, *self.size_bins_mm, math.inf]
        return [*pairwise(limits)]


def _target(name: str, negative: tuple[Spelling, ...], positive: tuple[Spelling, ...]) -> Target:
    if any(isinstance(value, bool) for value in (*negative, *positive)):
        raise UserError(
            f"target {name!r}: yes, no, on, off, true and false without quotes are booleans of "
            f"YAML, found negative={[*negative]} and positive={[*positive]}; write them as in the "
            f'table, as in negative=["no"] in quotes'
        )
    try:
        target = Target.of(name, {"kind": "binary", "values": [negative, positive]})
    except ValueError as error:
        raise UserError(f"{error}; give other values of negative and positive") from error
    if not all(target.values):
        raise UserError(
            f"target {name!r} needs values of both classes, found negative={[*negative]} and "
            f"positive={[*positive]}; name them as in negative=[1,2] positive=[4,5]"
        )
    return target
