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
        target = cls(name, kind, tuple(tuple(map(_plain, spellings)) for spellings in classes))
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
        plain = _plain(text)
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


def _plain(value: Any) -> str:
    """Return a spelling under which 3, 3.0 and "3" are equal."""
    text = str(value).strip()
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
