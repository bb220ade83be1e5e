"""Targets of characterization: what a column of `nodules.csv` means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Kind: TypeAlias = Literal["binary", "ordinal", "classes", "regression"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MALIGNANCY: Mapping[str, Mapping[str, Any]] = {
    "malignancy": {"kind": "ordinal", "values": [1, 2, 3, 4, 5]}
}
"""The target of a config that names none: a reader's rating from 1 (benign) to 5 (malignant)."""


@dataclass(frozen=True)
class Target:
    """A column of `nodules.csv` that a net learns.

    Attributes:
        name: Of the column.
        kind: `binary`, `ordinal` (values in their order), `classes`, or `regression`.
        values: Spellings of each class, in order: negative and positive of a binary target. For a
            regression the numbers that become 0 and 1, as its scale.

    Example:
        >>> vote = Target.of("malignancy", {"kind": "binary", "values": [[1, 2], [4, 5]]})
        >>> [vote.number(text) for text in ("2", "5.0", "3", "")]
        [0.0, 1.0, nan, nan]
        >>> Target.of("width", {"kind": "regression", "values": [0, 30]}).number("15")
        0.5
    """

    name: str
    kind: Kind
    values: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> Target:
        """Return a target from plain options, `kind` and `values`.

        Args:
            name: Of the column.
            options: `values` lists a spelling, or a list of spellings, for each class.

        Raises:
            ValueError: An unknown kind or option, too few values, or one that occurs twice.
        """
        if set(options) != {"kind", "values"}:
            raise ValueError(
                f"target {name!r} needs kind and values, such as {{kind: binary, values: [benign, "
                f"malignant]}}, got {dict(options)}"
            )
        kind, listed = options["kind"], list(options["values"])
        if kind not in KINDS:
            raise ValueError(f"target {name!r}: kind must be one of {', '.join(KINDS)}, got {kind}")
        classes = [[v] if isinstance(v, str) or not isinstance(v, Sequence) else v for v in listed]
        values = tuple(tuple(map(plain_spelling, spellings)) for spellings in classes)
        target = cls(name, kind, values)
        target._check()
        return target

    def _check(self) -> None:
        count = len(self.values)
        if count < 2 or (self.kind in ("binary", "regression") and count != 2):
            number = "two" if self.kind in ("binary", "regression") else "two or more"
            raise ValueError(f"target {self.name!r}: a {self.kind} one has {number} values")
        spellings = [text for value in self.values for text in value]
        if len(set(spellings)) < len(spellings):
            raise ValueError(f"target {self.name!r}: a value occurs twice in {spellings}")
        if self.kind == "regression":
            low, high = self.scale
            if not low < high:
                raise ValueError(f"target {self.name!r}: the scale must run low to high")

    @property
    def scale(self) -> tuple[float, float]:
        """The numbers of a regression that become 0 and 1."""
        (low, *_), (high, *_) = self.values
        return float(low), float(high)

    @property
    def channels(self) -> int:
        """Number of outputs: classes of `classes`, thresholds of `ordinal`, else 1."""
        return {"classes": len(self.values), "ordinal": len(self.values) - 1}.get(self.kind, 1)

    @property
    def levels(self) -> tuple[float, ...]:
        """The number of each class: 0 and 1 of a binary target, the ratings of an ordinal one.

        An ordinal target whose first spellings are no numbers that rise or fall has ranks from 0.

        Example:
            >>> Target.of("a", {"kind": "ordinal", "values": [[1, 2], 3, 5]}).levels
            (1.0, 3.0, 5.0)
            >>> Target.of("a", {"kind": "ordinal", "values": ["absent", "present"]}).levels
            (0.0, 1.0)
        """
        return self._ratings or tuple(map(float, range(len(self.values))))

    @property
    def _ratings(self) -> tuple[float, ...]:
        """The numbers that the classes of an ordinal target are called by; empty without."""
        if self.kind != "ordinal":
            return ()
        try:
            ratings = [float(first) for first, *_ in self.values]
        except ValueError:
            return ()
        ordered = ratings in (sorted(ratings), sorted(ratings, reverse=True))
        return tuple(ratings) if ordered and all(map(math.isfinite, ratings)) else ()

    @property
    def meaning(self) -> str:
        """What the column of its predictions holds, with range or unit.

        Example:
            >>> Target.of("malignancy", {"kind": "ordinal", "values": [1, 2, 3, 4, 5]}).meaning
            'expected rating, 1 to 5'
            >>> Target.of("vote", {"kind": "binary", "values": [[1, 2], [4, 5]]}).meaning
            'probability of 4 or 5, 0 to 1'
        """
        first, last = self.values[0][0], self.values[-1][0]
        if self.kind == "binary":
            return f"probability of {' or '.join(self.values[1])}, 0 to 1"
        if self.kind == "classes":
            return "most probable class"
        if self.kind == "regression":
            return "in the unit of the column"
        if self._ratings:
            return f"expected rating, {first} to {last}"
        return f"expected rank, 0 ({first}) to {len(self.values) - 1} ({last})"

    def value(self, number: float) -> float | str:
        """Return what a table holds for a number as `number` gives it; NaN if it is missing.

        It is the spelling of a class of `classes`, else a number: one of `levels`, or a
        regression's in the unit of the column.
        """
        if math.isnan(number):
            return math.nan
        if self.kind == "regression":
            low, high = self.scale
            return low + number * (high - low)
        return self.values[int(number)][0] if self.kind == "classes" else self.levels[int(number)]

    def number(self, text: str | None) -> float:
        """Return the class's index, or a regression's scaled value; NaN if missing or unlisted."""
        if not text:
            return math.nan
        if self.kind == "regression":
            low, high = self.scale
            try:
                return (float(text) - low) / (high - low)
            except ValueError:
                return math.nan
        plain = plain_spelling(text)
        return next((float(i) for i, value in enumerate(self.values) if plain in value), math.nan)


def targets_of(options: Mapping[str, Mapping[str, Any]] | None) -> tuple[Target, ...]:
    """Return targets from plain options by column; `MALIGNANCY` for None.

    Raises:
        ValueError: There is none, or an invalid one.
    """
    named = MALIGNANCY if options is None else options
    if not named:
        raise ValueError("characterization needs a target: name columns of nodules.csv")
    return tuple(Target.of(name, of) for name, of in named.items())


def plain_spelling(value: Any) -> str:
    """Return a spelling under which 3, 3.0 and "3" are equal."""
    text = str(value).strip()
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
