"""Names of files that are being written, and removal of those that a killed process left."""

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
"""Bytes that a temporary name keeps of the file's own, which may be as long as names can be."""

UNTOUCHED_S = 86_400.0
"""A file of a process that cannot be looked up is stale when nothing was written for a day."""

_NAME = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,10})-[0-9a-f]{12}\.\w[\w.]*")


def temporary_path(path: Path, suffix: str) -> Path:
    """A hidden name next to `path`, of this process alone.

    Args:
        path: The file that will be written.
        suffix: Ending of the temporary name.
    """
    start = os.fsencode(path.name)[:LONGEST].decode(errors="ignore")
    unique = f"{_machine()}-{os.getpid()}-{uuid4().hex[:12]}"
    return path.with_name(f".{start}.{unique}{suffix}")


def sweep(folder: Path) -> None:
    """Remove temporaries of a folder whose process has ended; those of living ones stay."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            named = _NAME.fullmatch(entry.name)
            if named and _is_stale(entry, named["machine"], int(named["process"])):
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
    except (OSError, OverflowError):  # somebody else's process may not be signalled
        return True
    return True


def _machine() -> str:
    """Where process numbers are unique: a machine, or a container on it."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]
