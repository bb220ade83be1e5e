"""Controller of the non-adjacency weight: a state machine without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

PATIENCE = 5
"""Validations that are counted before the weight moves."""


@dataclass
class LambdaControl:
    r"""How λ follows the validation Dice, one `update` a validation.

    1. **Measure.** Until the first validation the term is measured and not applied, λ = 0. Then
       $ \lambda_0 = 0.3 \, \overline{\mathrm{Dice}} / \overline{L} $ of the training so far, so
       that the constraint begins at a share of what the segmentation gains; the validation's Dice
       becomes the reference. Where one of the two means is 0 or undefined, the next validation
       does it.
    2. **Tune**, until 0.7 of the training, by how far Dice is below the reference. Less than 0.01
       is good, and every fifth good validation multiplies λ by the factor 1.3. From 0.01 to 0.02
       the count of good ones holds, from 0.02 on it begins anew. At the fifth validation in a row
       that is not good λ is multiplied by 0.95, at the tenth by 0.9, and the row is counted anew.
    3. **Hold.** No growth any more: at every fifth validation that finds Dice below the reference
       λ is multiplied by 0.9.

    An undefined Dice multiplies λ by 0.9 and the factor by 0.98; the third one ends the tuning.
    The authors count epochs, this counts validations; where their text leaves room (what follows
    the tenth bad one, and that the third undefined one ends tuning, not training) this is a choice.

    Attributes:
        weight: λ.
        reference: Dice at the first validation; NaN before it.
        factor: What λ is multiplied by to grow.
        good: Good validations since λ grew.
        bad: Validations in a row that were not good.
        undefined: Validations without a Dice.
        held: Validations below the reference since the tuning ended.

    Source: Ganaye, Sdika and Benoit-Cattin, Medical Image Analysis 2019, and the authors' program.
    """

    weight: float = 0.0
    reference: float = math.nan
    factor: float = 1.3
    good: int = 0
    bad: int = 0
    undefined: int = 0
    held: int = 0

    def update(self, dice: float, *, train_dice: float, value: float, progress: float) -> None:
        """Count one validation.

        Args:
            dice: Of the validation; NaN where it is undefined.
            train_dice: Mean Dice on training crops since the last validation.
            value: Mean of the term since the last validation.
            progress: Share of the training that is done.
        """
        if math.isnan(self.reference):
            self._start(dice, train_dice, value)
        elif math.isnan(dice):
            self.weight *= 0.9
            self.factor *= 0.98
            self.undefined += 1
        elif progress < 0.7 and self.undefined < 3:
            self._tune(self.reference - dice)
        else:
            self._hold(self.reference - dice)

    def acceptable(self, dice: float, *, train_dice: float, value: float) -> bool:
        """Whether a validation may be chosen: at most 0.005 below the reference.

        Before there is one, it has to be the one that makes it: a net that marks nothing is in
        contact with nothing, and would be chosen for that.
        """
        if math.isnan(self.reference):
            return _starts(dice, train_dice, value)
        return dice >= self.reference - 0.005  # false of NaN

    def state(self) -> list[float]:
        """All attributes as numbers, in their order."""
        return [float(value) for value in astuple(self)]

    @classmethod
    def restore(cls, state: Sequence[float]) -> LambdaControl:
        """The controller whose `state` this is."""
        kinds = {"int": int, "float": float}
        named = zip(fields(cls), state, strict=True)
        return cls(**{field.name: kinds[str(field.type)](value) for field, value in named})

    def _start(self, dice: float, train_dice: float, value: float) -> None:
        if _starts(dice, train_dice, value):
            self.weight = 0.3 * train_dice / value
            self.reference = dice

    def _tune(self, drop: float) -> None:
        if drop < 0.01:
            self.good, self.bad = self.good + 1, 0
            if self.good == PATIENCE:
                self.weight *= self.factor
                self.good = 0
            return
        if drop >= 0.02:
            self.good = 0
        self.bad += 1
        if self.bad == PATIENCE:
            self.weight *= 0.95
        elif self.bad == 2 * PATIENCE:
            self.weight *= 0.9
            self.bad = 0

    def _hold(self, drop: float) -> None:
        if drop > 0:
            self.held += 1
            if self.held == PATIENCE:
                self.weight *= 0.9
                self.held = 0


def _starts(dice: float, train_dice: float, value: float) -> bool:
    """Whether a validation can be the reference."""
    return train_dice > 0 and value > 0 and not math.isnan(dice)
