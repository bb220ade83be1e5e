"""Suggestions of similar names, for messages about unknown ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from semilung.types import UserError


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean x?`, or nothing if no name is similar.

    Example:
        >>> suggestion("mean_techer", ["mean_teacher", "mil"])
        '; did you mean mean_teacher?'
    """
    return _or(difflib.get_close_matches(name, list(names), n=1))


def unknown_setting(name: str, settings: Iterable[str]) -> str:
    """Return a message that a setting does not exist, with similar ones.

    A name without its group, such as `lr`, is searched in all groups.

    Example:
        >>> unknown_setting("lr", ["optim.lr", "seed"])
        'there is no setting lr; did you mean optim.lr?'
    """
    names = list(settings)
    group, _, leaf = name.rpartition(".")
    same = [key for key in names if key.rpartition(".")[2] == leaf]
    if same:
        return f"there is no setting {name}{_or(same[:3])}"
    siblings = [key for key in names if key.rpartition(".")[0] == group]
    if not difflib.get_close_matches(name, siblings):  # search the other groups
        ends = {key.rpartition(".")[2]: key for key in names}
        matches = [ends[end] for end in difflib.get_close_matches(leaf, ends, n=1)]
        return f"there is no setting {name}{_or(matches)}"
    return f"there is no setting {name}{suggestion(name, siblings)}"


def _or(names: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""


def require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise UserError unless a value is one of the choices of an argument.

    Example:
        >>> require_choice("split", "val", ("val", "test"))
    """
    if value not in choices:
        raise UserError(f"{name} is one of {', '.join(map(str, choices))}, got {value!r}")
