"""Settings `key=value` among plain arguments, wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from semilung.files import is_there

# of a finished run: how it is used, not how it was trained
_USE = re.compile(r"(inference|evaluation)\.\w+=.*", re.DOTALL)
_SETTINGS = {
    ("evaluate",): _USE,
    ("predict",): _USE,
    ("detect",): _USE,
    ("export",): _USE,
    ("data", "prepare"): re.compile(r"[\w.]+=.*", re.DOTALL),
    ("radiomics",): re.compile(r"[\w.]+=.*", re.DOTALL),
    ("characterize",): re.compile(r"[\w.]+=.*", re.DOTALL),
    ("data", "import"): re.compile(r"[\w.]+=.*", re.DOTALL),
}
"""Words of a command to the pattern of its settings."""


_NAMED = ("--scores",)
"""Options whose value is `NAME=file`, which is no setting."""


def split_settings(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the settings of a command line, and what remains for argparse, which cannot mix them.

    A word that names a file is no setting, whatever it looks like (`site=A/manifest.csv`).

    Example:
        >>> split_settings(["evaluate", "--split", "val", "inference.batch_size=8", "runs/a"])
        (['inference.batch_size=8'], ['evaluate', '--split', 'val', 'runs/a'])
    """
    kinds = [kind for words, kind in _SETTINGS.items() if words == (*arguments[: len(words)],)]
    settings: list[str] = []
    others: list[str] = []
    for before, word in pairwise(["", *arguments]):
        is_setting = any(kind.fullmatch(word) for kind in kinds) and before not in _NAMED
        (settings if is_setting and not is_there(word) else others).append(word)
    return settings, others
