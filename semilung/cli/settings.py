"""Settings among plain arguments: `semilung evaluate RUN inference.batch_size=8 --split val`."""

from __future__ import annotations

import re
from collections.abc import Sequence

# how a finished run is used, not how it was trained; a scan may be named evaluation.nii.gz
_SETTING = re.compile(r"(inference|evaluation)\.\w+(=.*)?", re.DOTALL)


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Settings, and what remains.

    Example:
        >>> parted(["runs/a", "inference.batch_size=8", "runs/b"])
        (['inference.batch_size=8'], ['runs/a', 'runs/b'])
    """
    settings = [word for word in words if _SETTING.fullmatch(word)]
    return settings, [word for word in words if word not in settings]


def settings_first(arguments: Sequence[str]) -> list[str]:
    """Settings right behind the command: argparse wants words without dashes together."""
    settings, others = parted(arguments)
    return [*others[:1], *settings, *others[1:]]
