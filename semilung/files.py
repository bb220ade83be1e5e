"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semilung.types import UserError


@contextmanager
def whole_file(path: str | os.PathLike[str], *, suffix: str = "") -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it into place when the block succeeds.

    Args:
        path: The file to write; folders are made as needed.
        suffix: Ending of the temporary name, for writers that go by it (`.nii.gz`).

    Raises:
        UserError: The disk refuses (full, read-only); a file that was there is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix or '.tmp'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        msg = f"{path} could not be written: {error}. What was there before is untouched"
        raise UserError(msg) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes whole or not at all; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text whole or not at all; see `whole_file`."""
    write_bytes(path, text.encode())
