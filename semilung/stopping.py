"""Signals that ask a command to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; a cluster that takes its machine back; a cluster whose time limit draws near."""


class BreakOff:
    """Handler of a signal: raises KeyboardInterrupt with its number, as Ctrl-C does without one.

    A process that was forked meanwhile, such as a loader's, ends by the signal as if nobody had
    listened to it.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Break off."""
        if os.getpid() == self._process:
            raise KeyboardInterrupt(number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


@contextmanager
def breaking_off() -> Iterator[None]:
    """Let a cluster's signals break off what runs within, as Ctrl-C does.

    What is saved as it goes, such as prepared scans, stays. A training that has something to save
    listens itself while it lasts (`semilung.training.interrupt`).
    """
    handler = BreakOff()
    alone = [n for n in STOPPING[1:] if signal.getsignal(n) is signal.SIG_DFL]
    for number in alone:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in alone:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def leaving_imports() -> Iterator[None]:
    """Let Ctrl-C during an import end the process at once, with code 130.

    Nothing has begun that could be lost, and what an interrupted import raises is anything but
    KeyboardInterrupt: packages catch it, or report that a half-imported module lacks a name.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # it may be ignored
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"semilung: interrupted\n")
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt
