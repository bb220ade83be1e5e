"""Names that may have been meant, for messages about names that there are not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean x?`, or nothing where no name is near.

    Example:
        >>> suggestion("mean_techer", ["mean_teacher", "mil"])
        '; did you mean mean_teacher?'
    """
    return _or(difflib.get_close_matches(name, list(known), n=1))


def unknown_setting(name: str, known: Iterable[str]) -> str:
    """That there is no such setting, and which one may have been meant.

    A name without its group, as `lr`, is looked for in all groups.

    Example:
        >>> unknown_setting("lr", ["optim.lr", "seed"])
        'there is no setting lr; did you mean optim.lr?'
    """
    names = list(known)
    group, _, leaf = name.rpartition(".")
    same = [key for key in names if key.rpartition(".")[2] == leaf]
    if same:
        return f"there is no setting {name}{_or(same[:3])}"
    near = [key for key in names if key.rpartition(".")[0] == group]
    if not difflib.get_close_matches(name, near):  # of another group, then
        ends = {key.rpartition(".")[2]: key for key in names}
        near = [ends[end] for end in difflib.get_close_matches(leaf, ends, n=1)]
        return f"there is no setting {name}{_or(near)}"
    return f"there is no setting {name}{suggestion(name, near)}"


def _or(names: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""
