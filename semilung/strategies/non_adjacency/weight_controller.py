"""Controller of the non-adjacency weight λ by validation Dice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

PATIENCE = 5
"""Number of validations before the weight changes."""


@dataclass
class LambdaControl:
    r"""Published controller of λ: one `update` for each validation.

    1. **Measure.** Until the first validation the term is measured and not applied, λ = 0. Then
       $ \lambda_0 = 0.3 \, \overline{\mathrm{Dice}} / \overline{L} $ of the training so far, and
       the validation's Dice becomes the reference. If one of the two means is 0 or undefined, the
       next validation does this.
    2. **Tune**, until 0.7 of the training, by the drop of Dice below the reference. A drop below
    0.01
       is good, and every fifth good validation multiplies λ by the factor 1.3. A drop from 0.01 to
       0.02 keeps the count of good ones, a larger one resets it. The fifth validation in a row that
       is not good multiplies λ by 0.95, the tenth by 0.9, and then the count restarts.
    3. **Hold.** λ no longer grows: every fifth validation with Dice below the reference multiplies
       it by 0.9.

    An undefined Dice multiplies λ by 0.9 and the factor by 0.98; the third one ends the tuning.
    The authors count epochs, this counts validations. The steps after the tenth bad validation, and
    that the third undefined one ends tuning and not training, are not specified by them.

    Attributes:
        weight: λ.
        reference: Dice at the first validation; NaN before it.
        factor: Growth factor of λ.
        good: Good validations since λ grew.
        bad: Consecutive validations that were not good.
        undefined: Validations without a Dice.
        held: Validations below the reference since tuning ended.

    Source: Ganaye, Sdika and Benoit-Cattin, Medical Image Analysis 2019, and the authors' code.
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
            dice: Validation Dice; NaN if undefined.
            train_dice: Mean Dice on training crops since the last validation.
            value: Mean of the term since the last validation.
            progress: Share of the training that is done, in [0, 1].
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
        """Return whether a validation may be selected: at most 0.005 below the reference.

        Without a reference, it must be able to set it: otherwise an empty prediction, which has no
        contacts, would be selected.
        """
        if math.isnan(self.reference):
            return _starts(dice, train_dice, value)
        return dice >= self.reference - 0.005  # false of NaN

    def state(self) -> list[float]:
        """Return all attributes as numbers, in order of definition."""
        return [float(value) for value in astuple(self)]

    @classmethod
    def restore(cls, state: Sequence[float]) -> LambdaControl:
        """Return the controller with this `state`."""
        kinds = {"int": int, "float": float}
        pairs = zip(fields(cls), state, strict=True)
        return cls(**{field.name: kinds[str(field.type)](value) for field, value in pairs})

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
    """Return whether a validation can set the reference."""
    return train_dice > 0 and value > 0 and not math.isnan(dice)
