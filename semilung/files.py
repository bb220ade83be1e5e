"""Atomic writing of files, and reading of untrusted ones within limits."""

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
    """No space is left on the disk of an output file."""


@contextmanager
def whole_file(
    path: str | os.PathLike[str], *, suffix: str = "", size: int | None = None
) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which is renamed to it when the block succeeds.

    Half-written files of killed processes in the folder are removed.

    Args:
        path: The file to write; folders are made as needed.
        suffix: Ending of the temporary name, for writers that depend on it (`.nii.gz`).
        size: Upper limit of the file's size, if known, for the message about a full disk.

    Raises:
        DiskFullError: No space is left; an existing file is untouched.
        UserError: The file cannot be written otherwise (read-only); an existing one is untouched.
    """
    path = Path(path)
    temporary = temporary_path(path, suffix or ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        exists = path.exists()
        remedy = "The earlier file is untouched" if exists else "Choose a place that can be written"
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
    """Return the error of a file that could not be written; for a full disk, with sizes.

    Args:
        path: The file.
        error: The cause.
        remedy: Last sentence of the message.
        temporary: The part written so far, which will be removed.
        size: Upper limit of the file's size, if known.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path} could not be written: {error.strerror or error}. {remedy}")
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
    """Return whether a path exists within `root`, with all links resolved."""
    try:
        return path.exists() and path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long or with a NUL
        return False


def require_inside(places: Iterable[Path], root: Path) -> None:
    """Check that no link, such as in a copied run, leads an output folder out of `root`.

    Raises:
        UserError: A folder exists and is outside of `root`.
    """
    for place in places:
        if (place.is_symlink() or place.exists()) and not is_inside(place, root):
            raise UserError(
                f"{place} leads out of {root} by a link; remove the link, or give another --out"
            )


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes atomically; see `whole_file`."""
    with whole_file(path, size=len(content)) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically; see `whole_file`."""
    write_bytes(path, text.encode())


def is_there(path: str | os.PathLike[str]) -> bool:
    """Return whether a path exists; False for invalid names (too long, with NUL)."""
    return os.path.exists(path)  # noqa: PTH110 - pathlib's raises for some of these names


def absolute_path(path: str | os.PathLike[str], setting: str) -> Path:
    """Return the absolute path, with `~` and links resolved.

    Args:
        path: As a user wrote it.
        setting: Name of the setting, for the message.

    Raises:
        UserError: The user (`~nosuchuser`) is unknown, links form a loop, or it holds a NUL.
    """
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{setting}={os.fspath(path)!r:.200} is no path: {reason}; give another one"
        ) from error


MAX_JSON = 2**26
"""Largest JSON file that is read, in bytes: splits of a million cases."""

MAX_YAML = 2**20
"""Largest YAML file that is read, in bytes."""


def read_json(path: Path) -> Any:
    """Read the plain values of a JSON file.

    Raises:
        UserError: It is missing, damaged, or too large or deep.
    """
    return _read(path, json.loads, MAX_JSON)


def read_yaml(path: Path) -> Any:
    """Read the plain values of a YAML file.

    Aliases, by which a few lines may expand to gigabytes, are not read; semilung writes none.

    Raises:
        UserError: It is missing, damaged, or too large or deep.
    """
    return _read(path, lambda text: yaml.load(text, Loader=_WithoutAliases), MAX_YAML)  # noqa: S506


def parse_value(word: str) -> Any:
    """Parse a value from the command line: YAML, in which `1e-3` is a number.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: The text is invalid.

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
    """With the floats of YAML 1.2; in files 1e9 is a string, because PyYAML writes strings so."""


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
    # parsers raise any of these for invalid content
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{path} cannot be read: {reason}. Restore the file") from error
