"""One training at a time in a run's folder, also where several machines share it.

The lock is POSIX's (`lockf`): it ends with its process, however that ends, and the loader's
processes do not inherit it. Its file says who holds it. Where a file system has no locks, or locks
that only their own machine sees, the file's time of change counts: a holder keeps renewing it.
Without any locks, two that start at the same time both sign: the one whose token stays has it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

from semilung.types import UserError

NAME = ".lock"

RENEWAL_S = 5.0
"""Seconds between two renewals; a lock file without one for three times as long is stale."""

SETTLING_S = 1.0
"""Seconds after which a process that began at the same time has signed, without locks."""

_held: dict[Path, Holder] = {}
"""Folders that this process holds: a POSIX lock does not keep a process from itself."""


@dataclass(frozen=True)
class Holder:
    """The process that trains in a folder.

    Attributes:
        host: Name of the machine.
        process: Number of the process on that machine.
        since: Local time of its start.
        token: Unique to one start.
    """

    host: str
    process: int
    since: str
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a run's folder. It is made as needed, and removed again if nothing was put into it.

    Raises:
        UserError: Another training holds it, or it cannot be written.
    """
    folder = folder.resolve()
    if folder in _held:
        raise _refusal(folder, _held[folder])
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        file = _acquire(folder)
        try:
            with _renewing(file):
                yield
        finally:
            del _held[folder]
            with suppress(OSError):
                (folder / NAME).unlink()
            os.close(file)
    finally:
        for place in new:
            with suppress(OSError):
                place.rmdir()


def _acquire(folder: Path) -> int:
    """Return the open lock file of a folder, locked and signed by this process."""
    try:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                locked = _require_free(file, folder)
                if _is_named(file, folder / NAME):
                    holder = _sign(file)
                    if not locked:
                        _require_settled(folder, holder)
                    _held[folder] = holder
                    return file
            finally:
                if folder not in _held:
                    os.close(file)
    except OSError as error:
        raise UserError(f"{folder} could not be written: {error}. Choose another place") from error


def _require_free(file: int, folder: Path) -> bool:
    """Lock the file, or refuse a folder in which another training is at work.

    Returns:
        Whether it is locked: not on a file system without locks.
    """
    locked = False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = True
    except (BlockingIOError, PermissionError) as error:
        raise _refusal(folder, _holder(file)) from error
    except OSError:  # a file system without locks
        pass
    holder = _holder(file)
    if holder is not None and _is_alive(holder, file, locked=locked):
        raise _refusal(folder, holder)
    return locked


def _require_settled(folder: Path, holder: Holder) -> None:
    """Wait for others that found the folder free, and refuse it if one of them signed later."""
    time.sleep(SETTLING_S)
    with (folder / NAME).open("rb") as file:  # opened anew: a network file system then looks again
        last = _holder(file.fileno())
    if last != holder:
        raise _refusal(folder, last)


def _is_named(file: int, path: Path) -> bool:
    """Whether the locked file still has its name: the last holder may have removed it."""
    return path.exists() and os.path.samestat(os.fstat(file), path.stat())


def _sign(file: int) -> Holder:
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    holder = Holder(socket.gethostname(), os.getpid(), since)
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(asdict(holder)).encode(), 0)
    return holder


def _holder(file: int) -> Holder | None:
    """Who signed the file; None where it is empty or damaged."""
    try:
        signed = json.loads(os.pread(file, 1000, 0))
        words = [str(signed[key]) for key in ("host", "since")]
        holder = Holder(words[0], int(signed["process"]), words[1], str(signed.get("token", "")))
    except (ValueError, TypeError, KeyError):
        return None
    return holder if str(holder).isprintable() else None


def _is_alive(holder: Holder, file: int, *, locked: bool) -> bool:
    """Whether who signed an unlocked file is still at work, as the file's renewals show."""
    if locked and holder.host == socket.gethostname():  # its lock ended with it
        return False
    before, until = os.fstat(file).st_mtime_ns, time.monotonic() + 3 * RENEWAL_S
    while time.monotonic() < until:
        time.sleep(RENEWAL_S / 10)
        if os.fstat(file).st_mtime_ns != before:
            return True
    return False


@contextmanager
def _renewing(file: int) -> Iterator[None]:
    """Renew the file's time of change while the block lasts."""
    ended = Event()

    def renew() -> None:
        while not ended.wait(RENEWAL_S):
            with suppress(OSError):
                os.utime(file)

    thread = Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _refusal(folder: Path, holder: Holder | None) -> UserError:
    return UserError(
        f"{folder} is being trained by {holder or 'another process'}. Wait for its end or stop it, "
        f"or begin a run of another name with run_name=..."
    )
