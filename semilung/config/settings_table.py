"""Every setting of `semilung train` with its default and what it says, from the dataclasses."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, NamedTuple, get_type_hints

from semilung.bounds import BOUNDS
from semilung.config.schema import CommandConfig
from semilung.nested import plain


class Setting(NamedTuple):
    """A dotted name, its default as it is written on the command line, and its documentation."""

    name: str
    default: str
    text: str


def settings(kind: type[Any] = CommandConfig, group: str = "") -> Iterator[Setting]:
    """Every setting of a dataclass, those of its nested ones in its place.

    Example:
        >>> next(s for s in settings() if s.name == "optim.lr")
        Setting(name='optim.lr', default='0.002', text='Peak learning rate.')
    """
    texts, hints = _documentation(kind), get_type_hints(kind)
    for field in fields(kind):
        hint = hints[field.name]
        if is_dataclass(hint) and isinstance(hint, type):
            yield from settings(hint, f"{group}{field.name}.")
        else:
            yield Setting(group + field.name, _default(field), texts[field.name])


def settings_help(width: int) -> str:
    """A line for each setting, cut off at a terminal's width.

    Args:
        width: Columns of the terminal.
    """
    table = list(settings())
    names = max(len(setting.name) for setting in table) + 4
    cut = [
        textwrap.shorten(setting.text, max(width - names - 1, 20), placeholder=" ...")
        for setting in table
    ]
    return "\n".join(f"  {s.name:<{names - 2}}{text}" for s, text in zip(table, cut, strict=True))


def settings_page() -> str:
    """`docs/settings.md`: a table of every setting with default and range."""
    rows = [
        f"| `{s.name}` | `{s.default}` | {BOUNDS.get(s.name, '')} | {_cell(s.text)} |"
        for s in settings()
    ]
    return "\n".join([*_PAGE, "| setting | default | range | what it is |", "|---|---|---|---|",
                      *rows]) + "\n"  # fmt: skip


_PAGE = (
    "# Settings",
    "",
    "Written by `semilung list settings --markdown > docs/settings.md` from the docstrings; a test",
    "compares the two. Any of them is a word of `semilung train` and `semilung ablate`",
    "(`optim.lr=1e-3`). `strategies.NAME.*` and `model.*` hold the options of what is chosen of",
    "those: `semilung train --cfg job strategy=NAME` prints them. Groups that set several at",
    "once: `tasks=`, `strategy=`, `model=`, `optim=`, `trainer=`, `experiment=`.",
    "",
)


def _documentation(kind: type[Any]) -> dict[str, str]:
    """Attribute to its text, from the section `Attributes` of a dataclass and its bases."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        section = inspect.cleandoc(base.__doc__ or "").partition("\nAttributes:\n")[2]
        section = re.split(r"\n\S", section)[0]
        for entry in re.split(r"\n(?=    \w)", section):
            name, _, text = entry.strip().partition(": ")
            texts[name] = " ".join(text.split())
    return texts


def _default(field: Field[Any]) -> str:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return json.dumps(plain(default)).replace('"', "").replace(", ", ",").replace(": ", ":")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
