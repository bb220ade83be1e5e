"""Arguments that name one path or several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from semilung.types import UserError

PathLike = str | os.PathLike[str]


def listed(paths: PathLike | Sequence[PathLike], name: str) -> list[Path]:
    """Return one path or several as a list.

    Args:
        paths: A path, or a sequence of them.
        name: Of the argument, for the message.

    Raises:
        UserError: The sequence is empty.

    Example:
        >>> [path.as_posix() for path in listed("runs/a", "runs")]
        ['runs/a']
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not several:
        raise UserError(f"{name} is an empty list; give a path, or several")
    return [Path(path) for path in several]


def require_csv(path: PathLike, option: str) -> Path:
    """Return a path that names a CSV file.

    Raises:
        UserError: It has another suffix, or is a folder.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv" or path.is_dir():
        raise UserError(
            f"{option} {path} is not the name of a CSV file; name one such as features.csv"
        )
    return path
