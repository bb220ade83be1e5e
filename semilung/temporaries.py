"""Temporary files: their names, and removal of those of killed processes."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

LONGEST = 150
"""Bytes of the file's name in a temporary name, so that a long name stays valid."""

UNTOUCHED_S = 86_400.0
"""A file of another machine's process is stale if it was not written to for a day."""

_NAME = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,10})-[0-9a-f]{12}\.\w[\w.]*")


def temporary_path(path: Path, suffix: str) -> Path:
    """Return a hidden name next to `path`, unique to this process.

    Args:
        path: The file that will be written.
        suffix: Ending of the temporary name.
    """
    start = os.fsencode(path.name)[:LONGEST].decode(errors="ignore")
    unique = f"{_machine()}-{os.getpid()}-{uuid4().hex[:12]}"
    return path.with_name(f".{start}.{unique}{suffix}")


def sweep(folder: Path) -> None:
    """Remove the temporary files of a folder whose process has ended."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and _is_stale(entry, match["machine"], int(match["process"])):
                with suppress(OSError):
                    Path(entry.path).unlink()


def _is_stale(entry: os.DirEntry[str], machine: str, process: int) -> bool:
    if machine == _machine() and not _is_running(process):
        return True
    with suppress(OSError):
        return time.time() - entry.stat().st_mtime > UNTOUCHED_S
    return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process may not be signalled
        return True
    return True


def _machine() -> str:
    """Return an identifier of the machine or container within which process ids are unique."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]
