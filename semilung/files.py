"""Files that appear under their name only when they are whole, and files read in distrust."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from semilung.temporaries import sweep, temporary_path
from semilung.types import UserError


class DiskFullError(UserError):
    """No space is left where something was to be written."""


@contextmanager
def whole_file(
    path: str | os.PathLike[str], *, suffix: str = "", size: int | None = None
) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it into place when the block succeeds.

    What killed processes left half-written in the folder is removed.

    Args:
        path: The file to write; folders are made as needed.
        suffix: Ending of the temporary name, for writers that go by it (`.nii.gz`).
        size: Most bytes that will be written, where known, for the message of a full disk.

    Raises:
        DiskFullError: No space is left; a file that was there is untouched.
        UserError: The disk refuses otherwise (read-only); a file that was there is untouched.
    """
    path = Path(path)
    temporary = temporary_path(path, suffix or ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        remedy = "What was there before is untouched"
        raise write_error(path, error, remedy, temporary=temporary, size=size) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_error(
    path: Path,
    error: OSError,
    remedy: str,
    *,
    temporary: Path | None = None,
    size: int | None = None,
) -> UserError:
    """What to raise for a file that could not be written; of a full disk, its folder and sizes.

    Args:
        path: The file.
        error: Why.
        remedy: How the message ends.
        temporary: What was written of it so far, which will be removed.
        size: Most bytes that the whole file may take, where known.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path} could not be written: {error}. {remedy}")
    written = temporary.stat().st_size if temporary is not None and temporary.exists() else 0
    needed = f"up to {_mib(size)} needed" if size else f"more than {_mib(written)} needed"
    free = _free(path.parent) + written
    return DiskFullError(
        f"{path} could not be written: No space left in {path.parent} ({needed}, {_mib(free)} "
        f"free). Free some space there, or write to another disk. {remedy}"
    )


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:  # the folder could not be made
        return 0


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def is_inside(path: Path, root: Path) -> bool:
    """Whether a path is a file, or a folder, that lies within `root` after every link."""
    try:
        return path.exists() and path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long or with a NUL
        return False


def require_inside(places: Iterable[Path], root: Path) -> None:
    """Refuse folders to write to that a link, of a run from elsewhere, leads out of `root`.

    Raises:
        UserError: One of them exists and lies elsewhere.
    """
    for place in places:
        if (place.is_symlink() or place.exists()) and not is_inside(place, root):
            raise UserError(
                f"{place} leads out of {root} by a link; remove the link, or give another --out"
            )


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes whole or not at all; see `whole_file`."""
    with whole_file(path, size=len(content)) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text whole or not at all; see `whole_file`."""
    write_bytes(path, text.encode())


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether a path exists; a name that no file can have (too long, with NUL) does not."""
    return os.path.exists(path)  # noqa: PTH110 - pathlib's raises for some of these names


def absolute_path(path: str | os.PathLike[str], setting: str) -> Path:
    """A path that holds from any folder, `~` and links resolved.

    Args:
        path: As a user wrote it.
        setting: What the path is of, for the message.

    Raises:
        UserError: It names no user (`~nosuchuser`), runs in a circle of links, or has a NUL.
    """
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        msg = f"{setting}={os.fspath(path)!r:.200} is no path: {reason}; give another one"
        raise UserError(msg) from error


MAX_JSON = 2**26
"""Largest JSON file that is read, in bytes: splits of a million cases."""

MAX_YAML = 2**20
"""Largest YAML file that is read, in bytes."""


def read_json(path: Path) -> Any:
    """Plain values of a JSON file.

    Raises:
        UserError: It is gone, damaged, or absurdly large or deep.
    """
    return _read(path, json.loads, MAX_JSON)


def read_yaml(path: Path) -> Any:
    """Plain values of a YAML file.

    Aliases, by which a few lines may stand for gigabytes, are not read; semilung writes none.

    Raises:
        UserError: It is gone, damaged, or absurdly large or deep.
    """
    return _read(path, lambda text: yaml.load(text, Loader=_WithoutAliases), MAX_YAML)  # noqa: S506


def parse_value(word: str) -> Any:
    """The plain value that a word on the command line stands for: YAML, and `1e-3` is a number.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: It is no such text.

    Example:
        >>> parse_value("[2, 2, 1e-3]")
        [2, 2, 0.001]
    """
    return yaml.load(word, Loader=_Word)  # noqa: S506 - a SafeLoader


class _WithoutAliases(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read")
        return super().compose_node(parent, index)


class _Word(_WithoutAliases):
    """With YAML 1.2's floats; in files, 1e9 is a string, for so PyYAML writes one."""


_Word.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _read(path: Path, parse: Callable[[str], Any], limit: int) -> Any:
    try:
        size = path.stat().st_size
        if size > limit:
            raise ValueError(f"{size} bytes, more than {limit}")
        return parse(path.read_text(encoding="utf-8"))
    # what a parser has no error of its own for, it raises as one of these
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{path} cannot be read: {told}. Restore the file") from error
